"""Bad graphs through the real server: each is answered with one sentence, and the server goes on."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import comfy.model_patcher
import comfy.sd
import comfy.supported_models
import pytest
import torch
from comfy.text_encoders.pixart_t5 import PixArtTokenizer
from sentences import one_sentence
from spoiling import changed, history, shown

from client.comfy_client import ComfyClient, NodeFailed, PromptRejected
from client.qwen2vl_flux.graph import node, variation
from systems.common.errors import InputError
from systems.common.images import check_picture
from systems.qwen2vl_flux.patch import patch_model
from systems.qwen2vl_flux.prompts import encode_prompt

LEFT = '[{"x": 0.28, "y": 0.32, "r": 0.5, "w": 1}]'
LIKE = 'like [{"x": 0.3'


@pytest.fixture(scope="module")
def reference(server, root) -> str:
    return ComfyClient(server.url).upload_image(root / "demo" / "reference.png")


@pytest.fixture(scope="module", autouse=True)
def spoiled(checkpoint_root: Path, root: Path) -> Iterator[None]:
    """Checkpoints with one component missing or broken, listed beside `tiny` and `demo`."""
    shutil.copytree(root / "demo" / "qwen2-vl", checkpoint_root / "no flux" / "qwen2-vl")
    shutil.copytree(root / "demo" / "flux" / "vae", checkpoint_root / "vae only" / "flux" / "vae")
    cut = shutil.copytree(root / "demo" / "qwen2-vl", checkpoint_root / "cut" / "qwen2-vl")
    shard = cut / "model-00001-of-00002.safetensors"
    shard.write_bytes(shard.read_bytes()[:100_000])
    yield
    for name in ("no flux", "vae only", "cut"):
        shutil.rmtree(checkpoint_root / name)


@pytest.fixture
def good(reference) -> dict:
    """Encode, focus and show the map, with all else of the variation graph at hand."""
    graph = variation(reference, prompt="", dots=LEFT, size=64, steps=1)
    return {key: graph[key] for key in graph if key != "save"}


# What is wrong with dots is tests/unit/test_focus.py; here it is only how that comes to a client.
DOTS = {
    "not JSON": ("the left one", "not JSON text (Expecting value at character 1)", LIKE),
    "a JSON list of an API client": ({"__value__": [{"x": 0.3, "y": 0.5}]}, "enclosed in double quotes", LIKE),
    "null": (None, "not JSON text", LIKE),
}


@pytest.mark.parametrize("dots, thing, remedy", DOTS.values(), ids=[name.replace(" ", "_") for name in DOTS])
def test_dots_are_refused_before_anything_runs(client, server, good, dots, thing, remedy):
    ran = history(server)
    with pytest.raises(PromptRejected) as raised:
        client.run(changed(good, {"focus.dots": dots}))
    (complaint,) = raised.value.node_errors["focus"]["errors"]
    assert complaint["extra_info"]["input_name"] == "dots"
    sentence = one_sentence(complaint["details"].removeprefix("dots - "))
    assert thing in sentence and remedy in sentence, sentence
    assert one_sentence(str(raised.value)).endswith(f"input 'dots': {sentence}")
    assert history(server) == ran


REFUSED = {
    "a list of one dot": ({"focus.dots": [{"x": 0.3, "y": 0.5}]}, "focus", "a list, not JSON text", LIKE),
    "a list of two dots": ({"focus.dots": [{"x": 0.3}, {"x": 0.5}]}, "focus", "validating inner node", "dict"),
    "no dots": ({"focus.dots": ...}, "focus", "input 'dots'", "Required input is missing"),
    "no tokens": ({"focus.tokens": ...}, "focus", "input 'tokens'", "Required input is missing"),
    "no mode": ({"focus.mode": ...}, "focus", "input 'mode'", "Required input is missing"),
    "no picture": ({"encode.image": ...}, "encode", "input 'image'", "Required input is missing"),
    "no encoder": ({"encode.qwen2vl": ...}, "encode", "input 'qwen2vl'", "Required input is missing"),
    "no checkpoint": ({"qwen2vl.checkpoint": ...}, "qwen2vl", "input 'checkpoint'", "Required input is missing"),
    "an unknown checkpoint": ({"qwen2vl.checkpoint": "gone"}, "qwen2vl", "input 'checkpoint'", "'gone' not in"),
    "a checkpoint by path": ({"qwen2vl.checkpoint": "../../etc"}, "qwen2vl", "input 'checkpoint'", "not in"),
    "a checkpoint of number": ({"qwen2vl.checkpoint": 5}, "qwen2vl", "input 'checkpoint'", "5 not in"),
    "an unknown dtype": ({"qwen2vl.weight_dtype": "int4"}, "qwen2vl", "input 'weight_dtype'", "'int4' not in"),
    "a dtype of FLUX": (
        {"qwen2vl.weight_dtype": "fp8_e4m3fn_fast"}, "qwen2vl", "input 'weight_dtype'", "'fp8_e4m3fn_fast' not in",
    ),
    "an unknown mode": ({"focus.mode": "blur"}, "focus", "input 'mode'", "not in ['scale', 'drop', 'attention']"),
    "a budget below 0": ({"encode.token_budget": -1}, "encode", "input 'token_budget'", "smaller than min of 0"),
    "a budget too large": ({"encode.token_budget": 16385}, "encode", "'token_budget'", "bigger than max of 16384"),
    "a budget of words": ({"encode.token_budget": "many"}, "encode", "'token_budget'", "Failed to convert an input"),
    "a budget of NaN": ({"encode.token_budget": "nan"}, "encode", "'token_budget'", "Failed to convert an input value"),
    "a picture as tokens": ({"focus.tokens": ["image", 0]}, "focus", "input 'tokens'", "(IMAGE) mismatch"),
    "an encoder as tokens": ({"focus.tokens": ["qwen2vl", 0]}, "focus", "input 'tokens'", "(QWEN2VL) mismatch"),
    "tokens as a picture": ({"encode.image": ["focus", 0]}, "encode", "input 'image'", "(QWEN2VL_TOKENS) mismatch"),
    "a MODEL as encoder": ({"encode.qwen2vl": ["model", 0]}, "encode", "input 'qwen2vl'", "(MODEL) mismatch"),
    "a picture as mask": ({"focus.mask": ["image", 0]}, "focus", "input 'mask'", "(IMAGE) mismatch input_type(MASK)"),
    "a list of three dots": ({"focus.dots": [{"x": 0.3, "y": 0.5}] * 3}, "focus", "a list, not JSON text", LIKE),
    "a link to nowhere": ({"focus.tokens": ["absent", 0]}, "focus", "", "absent"),
    "a link to no slot": ({"focus.tokens": ["encode", 7]}, "focus", "", "out of range"),
    "a link to itself": ({"focus.tokens": ["focus", 0]}, "focus", "", "cycle"),
    "a node that is not there": ({"focus": node("GridDotFocusPro")}, "", "'GridDotFocusPro' not found", "not be inst"),
    "nothing to show": ({"focus_save": node("VAEEncode")}, "", "Prompt has no outputs", ""),
    "a batch of none": (
        {"size.batch_size": 0, "focus_save": shown("any", "size", 0)}, "size", "input 'batch_size'", "min of 1",
    ),
    "a batch too large": (
        {"size.batch_size": 65, "focus_save": shown("any", "size", 0)}, "size", "input 'batch_size'", "max of 64",
    ),
    "a side too small": ({"size.size": 63, "focus_save": shown("any", "size", 0)}, "size", "input 'size'", "min of 64"),
    "a side too large": ({"size.size": 9999, "focus_save": shown("any", "size", 0)}, "size", "input 'size'", "of 2048"),
    "an unknown shape": (
        {"size.aspect_ratio": "5:4", "focus_save": shown("any", "size", 0)}, "size", "'aspect_ratio'", "'5:4' not in",
    ),
    "no steps": ({"sigmas.steps": 0, "focus_save": shown("any", "sigmas", 0)}, "sigmas", "input 'steps'", "min of 1"),
    "strength below 0": (
        {"sigmas.strength": -0.1, "focus_save": shown("any", "sigmas", 0)}, "sigmas", "input 'strength'", "min of 0.0",
    ),
    "strength above 1": (
        {"sigmas.strength": 1.5, "focus_save": shown("any", "sigmas", 0)}, "sigmas", "input 'strength'", "max of 1.0",
    ),
    "a picture as latent": (
        {"sigmas.latent": ["image", 0], "focus_save": shown("any", "sigmas", 0)}, "sigmas", "'latent'", "(IMAGE)",
    ),
    "no latent": ({"sigmas.latent": ..., "focus_save": shown("any", "sigmas", 0)}, "sigmas", "'latent'", "is missing"),
    "a picture as MODEL": (
        {"patched": node("Qwen2VLFluxPatchModel", model=["image", 0]), "focus_save": shown("any", "patched", 0)},
        "patched", "input 'model'", "(IMAGE) mismatch input_type(MODEL)",
    ),
    "no MODEL": (
        {"patched": node("Qwen2VLFluxPatchModel"), "focus_save": shown("any", "patched", 0)},
        "patched", "input 'model'", "Required input is missing",
    ),
    "a VAE as clip": (
        {"connect.clip": ["vae", 0], "focus_save": shown("any", "connect", 0)}, "connect", "input 'clip'", "(VAE)",
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    "changes, where, thing, remedy", REFUSED.values(), ids=[name.replace(" ", "_") for name in REFUSED]
)
def test_graphs_are_refused_before_anything_runs(client, server, good, changes, where, thing, remedy):
    """In ComfyUI's own words where the input's declaration says all there is to say."""
    ran = history(server)
    with pytest.raises(PromptRejected) as raised:
        client.run(changed(good, changes))
    sentence = one_sentence(str(raised.value))
    assert f"node '{where}'" in sentence or not where, sentence
    assert thing in sentence and remedy in sentence, sentence
    assert history(server) == ran


HALF = {
    "black": node("SolidMask", value=0.0, width=64, height=64),
    "white": node("SolidMask", value=1.0, width=32, height=64),
    "half": node("MaskComposite", destination=["black", 0], source=["white", 0], x=0, y=0, operation="add"),
}
TINY = {
    "tiny": node("Qwen2VLLoader", checkpoint="tiny", weight_dtype="default"),
    "tiny_encode": node("Qwen2VLEncode", qwen2vl=["tiny", 0], image=["image", 0], token_budget=16),
}
SAMPLED = {"focus_save": shown("any", "sample", 0)}
CONNECTED = {"focus_save": shown("any", "connect", 0)}
T5 = {"text.t5": True, "connect.prompt": "a red circle"}

FAILED = {
    "a picture of NaN": (
        {
            "nan": node("NormalizeImages", images=["image", 0], mean="nan", std=0.5),
            "encode.image": ["nan", 0],
        },
        "Qwen2VLEncode", "The image holds values that are not numbers", "check the node it comes from",
    ),
    "a strip beyond 200:1": (
        {
            "strip": node("EmptyImage", width=4000, height=1, batch_size=1, color=0),
            "encode.image": ["strip", 0],
        },
        "Qwen2VLEncode", "4000x1 pixels", "crop it or pad it first",
    ),
    "three masks for one picture": (
        {
            **HALF,
            "as_picture": node("MaskToImage", mask=["half", 0]),
            "three": node("RepeatImageBatch", image=["as_picture", 0], amount=3),
            "masks": node("ImageToMask", image=["three", 0], channel="red"),
            "focus.mask": ["masks", 0],
        },
        "GridDotFocus", "the shape [3, 64, 64] for 1 image(s)", "give one, or one for each",
    ),
    "a mask that drops everything": (
        {**HALF, "focus.mask": ["black", 0], "focus.mode": "drop"},
        "GridDotFocus", "leaves nothing of the image", "add a dot, enlarge its r",
    ),
    "dots that drop everything": (
        {"focus.dots": '[{"x": 1, "y": 1, "r": 0.0001}]', "focus.mode": "drop"},
        "GridDotFocus", "leaves nothing of the image", "add a dot, enlarge its r",
    ),
    "two pictures that would keep different tokens": (
        {
            **HALF,
            "half_picture": node("MaskToImage", mask=["half", 0]),
            "full": node("SolidMask", value=1.0, width=64, height=64),
            "full_picture": node("MaskToImage", mask=["full", 0]),
            "two": node("ImageBatch", image1=["half_picture", 0], image2=["full_picture", 0]),
            "masks": node("ImageToMask", image=["two", 0], channel="red"),
            "pair": node("ImageBatch", image1=["image", 0], image2=["image", 0]),
            "encode.image": ["pair", 0],
            "focus.dots": "",
            "focus.mask": ["masks", 0],
            "focus.mode": "drop",
        },
        "GridDotFocus", "keeps different tokens in the images", "use mode scale or one mask for all",
    ),
    "focus after a drop": (
        {
            "focus.mode": "drop",
            "again": node("GridDotFocus", tokens=["focus", 0], dots="", mode="drop"),
            "focus_save": shown("any", "again", 0),
        },
        "GridDotFocus", "already thinned by mode drop", "focus once",
    ),
    "dots of another node that are no dots": (
        {"words": node("PrimitiveString", value="the left one"), "focus.dots": ["words", 0]},
        "GridDotFocus", "The dots are not JSON text", LIKE,
    ),
    "tokens of another checkpoint": (
        {**TINY, **CONNECTED, "connect.tokens": ["tiny_encode", 0]},
        "Qwen2VLConnector", "made by checkpoint 'tiny'", "use one Load Qwen2VL Encoder for both",
    ),
    "control tokens of another checkpoint": (
        {**TINY, **CONNECTED, "connect.control_tokens": ["tiny_encode", 0]},
        "Qwen2VLConnector", "this connector belongs to 'demo'", "use one Load Qwen2VL Encoder for both",
    ),
    "a prompt without CLIP": (
        {**CONNECTED, "connect.clip": ..., "connect.prompt": "a red circle"},
        "Qwen2VLConnector", "needs text encoders", "connect a CLIP with T5, or clear the prompt",
    ),
    "a prompt with CLIP-L alone": (
        {**CONNECTED, "connect.prompt": "a red circle"},
        "Qwen2VLConnector", "only CLIP-L is loaded", "switch t5 on in Load Qwen2VL-Flux Text Encoders",
    ),
    "T5 of another checkpoint": (
        {**TINY, **CONNECTED, **T5, "connect.qwen2vl": ["tiny", 0], "connect.tokens": ["tiny_encode", 0]},
        "Qwen2VLConnector", "gives 8 values a token, checkpoint 'tiny' takes 384", "connect the T5-XXL",
    ),
    "conditioning for a narrower FLUX": (
        {**SAMPLED, "model.checkpoint": "tiny"},
        "SamplerCustomAdvanced", "conditioning is 128 wide and this FLUX takes 384", "from the same checkpoint",
    ),
    "a pooled vector for another FLUX": (
        {
            **TINY, **SAMPLED,
            "model.checkpoint": "tiny",
            "connect.qwen2vl": ["tiny", 0],
            "connect.tokens": ["tiny_encode", 0],
        },
        "SamplerCustomAdvanced", "pooled vector is 4 wide and this FLUX takes 64", "from the same checkpoint",
    ),
    "a prompt for an unpatched FLUX": (
        {**SAMPLED, **T5, "model": node("UNETLoader", unet_name="demo_flux.safetensors", weight_dtype="default")},
        "SamplerCustomAdvanced", "this MODEL would ignore", "Qwen2VL-Flux Patch Model",
    ),
    "sigmas for a video": (
        {
            "video": node("EmptyHunyuanLatentVideo", width=64, height=64, length=5, batch_size=1),
            "sigmas.latent": ["video", 0],
            "focus_save": shown("any", "sigmas", 0),
        },
        "Qwen2VLFluxSigmas", "the shape [1, 16, 2, 8, 8]", "connect the latent of one image",
    ),
    "sigmas of strength NaN": (
        {"sigmas.strength": "nan", "focus_save": shown("any", "sigmas", 0)},
        "Qwen2VLFluxSigmas", "The input strength of Qwen2VL-Flux Sigmas is nan", "from 0.0 to 1.0",
    ),
    "a checkpoint without FLUX": (
        {"model.checkpoint": "no flux", "focus_save": shown("any", "model", 0)},
        "Qwen2VLFluxModelLoader", "transformer is missing", "download that folder of the checkpoint",
    ),
    "a checkpoint without encoder": (
        {"qwen2vl.checkpoint": "vae only"},
        "Qwen2VLLoader", "qwen2-vl is missing", "download that folder of the checkpoint",
    ),
    "a checkpoint without text encoders": (
        {"text.checkpoint": "tiny", "focus_save": shown("any", "text", 0)},
        "Qwen2VLFluxTextLoader", "text_encoder is missing", "download that folder of the checkpoint",
    ),
    "a checkpoint without VAE": (
        {"vae.checkpoint": "tiny", "focus_save": shown("any", "vae", 0)},
        "Qwen2VLFluxVAELoader", "vae is missing", "download that folder of the checkpoint",
    ),
    "a checkpoint cut short": (
        {"qwen2vl.checkpoint": "cut"},
        "Qwen2VLLoader", "model-00001-of-00002.safetensors is cut short", "download it again",
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    "changes, node_type, thing, remedy", FAILED.values(), ids=[name.replace(" ", "_") for name in FAILED]
)
def test_one_sentence_from_the_node(client, good, changes, node_type, thing, remedy):
    with pytest.raises(NodeFailed) as raised:
        client.run(changed(good, changes))
    assert raised.value.node_type == node_type
    sentence = one_sentence(raised.value.message)
    assert thing in sentence and remedy in sentence, sentence
    one_sentence(raised.value)


@pytest.mark.parametrize(
    "image, thing",
    [
        (torch.ones(64, 64, 3), "the shape [64, 64, 3]"),
        (torch.ones(0, 64, 64, 3), "the shape [0, 64, 64, 3]"),
        (torch.ones(1, 0, 64, 3), "the shape [1, 0, 64, 3]"),
        (torch.full((1, 8, 8, 3), float("inf")), "NaN or infinity"),
    ],
)
def test_pictures_that_are_none(image, thing):
    with pytest.raises(InputError) as raised:
        check_picture(image)
    assert thing in one_sentence(raised.value)


def test_patch_model_takes_flux_alone():
    """A real Stable Diffusion 1.5, one block small."""
    unet = {"image_size": 8, "in_channels": 4, "out_channels": 4, "model_channels": 32, "num_res_blocks": [1]}
    unet |= {"channel_mult": [1], "transformer_depth": [0], "transformer_depth_middle": -1, "context_dim": 8}
    unet |= {"transformer_depth_output": [0, 0], "num_heads": 1, "use_spatial_transformer": True, "legacy": False}
    model = comfy.supported_models.SD15({**unet, "dtype": torch.float32}).get_model({})
    cpu = torch.device("cpu")
    with pytest.raises(InputError) as raised:
        patch_model(comfy.model_patcher.ModelPatcher(model, cpu, cpu))
    assert "a SD15" in one_sentence(raised.value) and "connect a FLUX.1-dev" in str(raised.value)


def test_text_encoders_without_clip_l():
    """T5 alone, as PixArt loads it."""
    clip = comfy.sd.CLIP(no_init=True)
    clip.tokenizer, clip.tokenizer_options = PixArtTokenizer(), {}
    with pytest.raises(InputError) as raised:
        encode_prompt(clip, "a red circle")
    assert "(t5xxl) has no CLIP-L" in one_sentence(raised.value) and "load FLUX's CLIP-L" in str(raised.value)


def test_a_checkpoint_removed_after_listing(client, good, checkpoint_root, root):
    folder = shutil.copytree(root / "demo" / "qwen2-vl", checkpoint_root / "short-lived" / "qwen2-vl").parent
    (folder / "flux").mkdir()
    graph = changed(good, {"qwen2vl.checkpoint": "short-lived"})
    client.run(graph)
    graph["qwen2vl"]["inputs"]["weight_dtype"] = "fp8_e4m3fn"
    shutil.rmtree(folder / "qwen2-vl")
    with pytest.raises(NodeFailed) as raised:
        client.run(graph)
    assert "qwen2-vl is missing" in one_sentence(raised.value)
    shutil.rmtree(folder)
    with pytest.raises(PromptRejected, match="'short-lived' not in"):
        client.run(graph)


def test_dots_from_another_node(client, good):
    """They are known only when the graph runs, so nothing is said about them before."""
    run = client.run(changed(good, {"words": node("PrimitiveString", value=LEFT), "focus.dots": ["words", 0]}))
    assert run.outputs["focus_save"]["images"]


def test_the_server_still_answers(client, good, reference):
    """After all of the above, a map and a variation."""
    run = client.run(good)
    assert run.outputs["focus_save"]["images"]
    run = client.run(variation(reference, prompt="a red circle", dots=LEFT, size=64, steps=2, seed=11))
    assert "sample" in run.executed and client.fetch(run.outputs["save"]["images"][0])[1:4] == b"PNG"
