"""Bad graphs of the modes that redraw a picture: each is answered with one sentence, and the server goes on."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from control_weights import write_union
from sentences import one_sentence
from spoiling import changed, history, shown

from client.comfy_client import ComfyClient, NodeFailed, PromptRejected
from client.qwen2vl_flux.graph import Hint, Prompt, controlnet, node


@pytest.fixture(scope="module")
def reference(server, root) -> str:
    return ComfyClient(server.url).upload_image(root / "demo" / "reference.png")


@pytest.fixture(scope="module", autouse=True)
def spoiled(small: Path, checkpoint_root: Path) -> Iterator[None]:
    """Folders with a ControlNet that does not fit or is broken, listed beside `small/controlnet`."""
    names = ("few", "cut", "other", "narrow")
    for name in names:
        (checkpoint_root / name / "qwen2-vl").mkdir(parents=True)
    write_union(checkpoint_root / "few" / "controlnet", modes=2)
    write_union(checkpoint_root / "other" / "controlnet", num_attention_heads=2)
    write_union(checkpoint_root / "narrow" / "controlnet", joint_attention_dim=96)
    cut = write_union(checkpoint_root / "cut" / "controlnet") / "diffusion_pytorch_model.safetensors"
    cut.write_bytes(cut.read_bytes()[:100_000])
    yield
    for name in names:
        shutil.rmtree(checkpoint_root / name)


@pytest.fixture
def good(reference) -> Prompt:
    """Inpainting along depth, with the map given as a picture and everything shown in `save`."""
    graph = controlnet(
        reference, [Hint("depth", "unused", 0.3)], control_net="small/controlnet", checkpoint="small", steps=1, size=64
    )
    for name in ("depth_model", "depth", "depth_save"):
        del graph[name]
    graph["depth_control"]["inputs"]["image"] = ["prepare", 0]
    return graph


def seen(kind: str, *source: object) -> dict:
    return {"save": shown(kind, *source)}


def mask_file(name: str, channel: str) -> dict[str, object]:
    return {"mask": node("LoadImageMask", image=name, channel=channel), "prepare.mask": ["mask", 0]}


PREPARED, NOISE = seen("image", "prepare", 0), seen("any", "pure", 0)
MODE = {"save": shown("any", "depth_mode", 0)}
PURE = {"pure": node("Qwen2VLFluxPureNoise", noise=["noise", 0], sigmas=["sigmas", 0]), **NOISE}
WHITE = {"white": node("SolidMask", value=1.0, width=64, height=64)}

REFUSED = {
    "an unknown mode": ({"depth_mode.mode": "mlsd"}, "depth_mode", "'mlsd' not in"),
    "a mode by number": ({"depth_mode.mode": 2}, "depth_mode", "2 not in"),
    "a mode in capitals": ({"depth_mode.mode": "Depth"}, "depth_mode", "'Depth' not in"),
    "ComfyUI's name of a mode": ({"depth_mode.mode": "canny/lineart/anime_lineart/mlsd"}, "depth_mode", "not in"),
    "no mode": ({"depth_mode.mode": ...}, "depth_mode", "Required input is missing"),
    "no ControlNet": ({"depth_mode.control_net": ...}, "depth_mode", "Required input is missing"),
    "a MODEL as ControlNet": ({"depth_mode.control_net": ["model", 0]}, "depth_mode", "(MODEL) mismatch"),
    "a VAE as ControlNet": ({"depth_mode.control_net": ["vae", 0]}, "depth_mode", "(VAE) mismatch"),
    "an unknown folder": ({"control_net.controlnet": "gone"}, "control_net", "'gone' not in"),
    "a folder by path": ({"control_net.controlnet": "../../etc"}, "control_net", "not in"),
    "no folder": ({"control_net.controlnet": ...}, "control_net", "Required input is missing"),
    "no hint": ({"depth_control.image": ...}, "depth_control", "Required input is missing"),
    "a mask as hint": ({"depth_control.image": ["prepare", 1]}, "depth_control", "(MASK) mismatch"),
    "a strength above 10": ({"depth_control.strength": 11}, "depth_control", "bigger than max of 10"),
    "an end above 1": ({"depth_control.end_percent": 1.1}, "depth_control", "bigger than max of 1"),
    "no picture to prepare": ({"prepare.image": ...}, "prepare", "Required input is missing"),
    "a mask to prepare as picture": ({"prepare.image": ["image", 1]}, "prepare", "(MASK) mismatch"),
    "a picture as mask": ({"prepare.mask": ["image", 0]}, "prepare", "(IMAGE) mismatch"),
    "an unknown shape": ({"prepare.aspect_ratio": "5:4"}, "prepare", "'5:4' not in"),
    "a size too small": ({"prepare.size": 32}, "prepare", "smaller than min of 64"),
    "a size too large": ({"prepare.size": 4096}, "prepare", "bigger than max of 2048"),
    "a size of words": ({"prepare.size": "large"}, "prepare", "Failed to convert an input"),
    "no noise": ({**PURE, "pure.noise": ...}, "pure", "Required input is missing"),
    "no sigmas": ({**PURE, "pure.sigmas": ...}, "pure", "Required input is missing"),
    "a latent as noise": ({**PURE, "pure.noise": ["batch", 0]}, "pure", "(LATENT) mismatch"),
    "a picture as control tokens": ({"connect.control_tokens": ["image", 0]}, "connect", "(IMAGE) mismatch"),
    "a missing mask file": (mask_file("gone.png", "red"), "mask", "Invalid image file"),
    "an unknown channel": (mask_file("example.png", "white"), "mask", "'white' not in"),
}  # fmt: skip


@pytest.mark.parametrize("changes, where, words", REFUSED.values(), ids=REFUSED)
def test_graphs_are_refused_before_anything_runs(client, server, example, good, changes, where, words):
    ran = history(server)
    with pytest.raises(PromptRejected) as raised:
        client.run(changed(good, changes))
    sentence = one_sentence(str(raised.value))
    assert f"node '{where}'" in sentence and words in sentence, sentence
    assert history(server) == ran


def masks(count: int) -> dict[str, dict]:
    """A batch of white masks for `prepare`."""
    return {
        **WHITE,
        "as_picture": node("MaskToImage", mask=["white", 0]),
        "several": node("RepeatImageBatch", image=["as_picture", 0], amount=count),
        "masks": node("ImageToMask", image=["several", 0], channel="red"),
        "prepare.mask": ["masks", 0],
    }


def strip(width: int, height: int) -> dict[str, object]:
    picture = node("EmptyImage", width=width, height=height, batch_size=1, color=0)
    return {"strip": picture, "prepare.image": ["strip", 0], **PREPARED}


FAILED = {
    "a net of too few modes": (
        {"control_net.controlnet": "few/controlnet", **MODE},
        "FluxUnionControlMode", "knows 2 modes, so it cannot be set to depth", "load a union ControlNet",
    ),
    "a net that is cut short": (
        {"control_net.controlnet": "cut/controlnet", **MODE},
        "Qwen2VLFluxControlNetLoader", "is cut short or damaged", "download it again",
    ),
    "a net of another width": (
        {"control_net.controlnet": "other/controlnet"},
        "SamplerCustomAdvanced", "works with 256 values a token and the MODEL with 128", "made for this FLUX",
    ),
    "a net for other tokens": (
        {"control_net.controlnet": "narrow/controlnet"},
        "SamplerCustomAdvanced", "is 128 wide and this ControlNet takes 96", "from the same checkpoint",
    ),
    "a hint without a VAE": (
        {"depth_control.vae": ...}, "SamplerCustomAdvanced", "needs a VAE but none was provided", "with a VAE input",
    ),
    "an empty mask": (
        {"black": node("SolidMask", value=0.0, width=64, height=64), "prepare.mask": ["black", 0], **PREPARED},
        "Qwen2VLFluxPrepareImage", "The mask is empty", "paint the part to change",
    ),
    "an unpainted picture": (
        {"prepare.mask": ["image", 1], **PREPARED},
        "Qwen2VLFluxPrepareImage", "The mask is empty", "paint the part to change",
    ),
    "a soft mask below one half": (
        {"faint": node("SolidMask", value=0.49, width=64, height=64), "prepare.mask": ["faint", 0], **PREPARED},
        "Qwen2VLFluxPrepareImage", "The mask is too faint: it is 0.490 at most", "or switch soft_mask on",
    ),
    "a mask between the cells": (
        {
            "black": node("SolidMask", value=0.0, width=128, height=128),
            "white": node("SolidMask", value=1.0, width=7, height=128),
            "stripe": node(
                "MaskComposite", destination=["black", 0], source=["white", 0], x=57, y=0, operation="add"
            ),
            "prepare.mask": ["stripe", 0],
            "prepare.size": 128,
            **PREPARED,
        },
        "Qwen2VLFluxPrepareImage", "The mask is too thin", "paint at least 64 pixels",
    ),
    "three masks for one picture": (
        {**masks(3), **PREPARED}, "Qwen2VLFluxPrepareImage", "There are 3 masks for 1 images", "one for each image",
    ),
    "a narrow strip": (strip(1000, 12), "Qwen2VLFluxPrepareImage", "1000x12 pixels", "take a larger one"),
    "a pixel": (strip(1, 1), "Qwen2VLFluxPrepareImage", "1x1 pixels", "take a larger one"),
    "a strip that shrinks away": (
        {**strip(8000, 40), "prepare.size": 64}, "Qwen2VLFluxPrepareImage", "8000x40 pixels", "one less narrow",
    ),
    "a picture of NaN": (
        {
            "nan": node("NormalizeImages", images=["image", 0], mean="nan", std=0.5),
            "prepare.image": ["nan", 0],
            **PREPARED,
        },
        "Qwen2VLFluxPrepareImage", "not numbers", "check the node it comes from",
    ),
    "pure noise over a picture": (
        {**PURE, "sample.noise": ["pure", 0], "save": shown("image", "decode", 0)},
        "SamplerCustomAdvanced", "The latent holds an image", "connect an empty latent",
    ),
    "pure noise without a step": (
        {**PURE, "sigmas.strength": 0.0}, "Qwen2VLFluxPureNoise", "no step to begin with", "raise the strength",
    ),
    "a prompt that only the ControlNet could hear": (
        {
            "text.t5": True,
            "connect.prompt": "a red circle",
            "model": node("UNETLoader", unet_name="demo_flux.safetensors", weight_dtype="default"),
        },
        "SamplerCustomAdvanced", "this MODEL would ignore", "Qwen2VL-Flux Patch Model",
    ),
    "control tokens of another checkpoint": (
        {
            "tiny": node("Qwen2VLLoader", checkpoint="tiny", weight_dtype="default"),
            "tiny_encode": node("Qwen2VLEncode", qwen2vl=["tiny", 0], image=["image", 0], token_budget=16),
            "connect.control_tokens": ["tiny_encode", 0],
        },
        "Qwen2VLConnector", "made by checkpoint 'tiny'", "use one Load Qwen2VL Encoder for both",
    ),
}  # fmt: skip


@pytest.mark.parametrize("changes, where, thing, remedy", FAILED.values(), ids=FAILED)
def test_nodes_say_what_is_wrong(client, good, changes, where, thing, remedy):
    with pytest.raises(NodeFailed) as raised:
        client.run(changed(good, changes))
    sentence = one_sentence(raised.value.message)
    assert raised.value.node_type == where, sentence
    assert thing in sentence and remedy in sentence, sentence


def test_the_server_goes_on(client, good):
    assert client.run(good).outputs["save"]["images"]
