"""One conditioning of the pack through ComfyUI's own nodes, in the real server, on the trained demo checkpoint."""

from __future__ import annotations

import io

import numpy as np
import pytest
from goldens import DATA
from PIL import Image

from client.comfy_client import NodeFailed
from client.qwen2vl_flux.graph import variation

YELLOW, CYAN, NAVY = (250, 220, 40), (40, 200, 220), (20, 40, 90)
MINT = (170, 225, 190)
LEFT, RIGHT = '[{"x": 0.28, "y": 0.68, "r": 0.5, "w": 1}]', '[{"x": 0.72, "y": 0.32, "r": 0.5, "w": 1}]'


@pytest.fixture(scope="module")
def reference(server, root) -> str:
    """The demo's reference picture, a yellow circle left and a cyan square right, uploaded."""
    from client.comfy_client import ComfyClient

    return ComfyClient(server.url).upload_image(root / "demo" / "reference.png")


def node(class_type: str, **inputs) -> dict:
    return {"class_type": class_type, "inputs": inputs}


def pictures(client, run, node_id: str = "save") -> np.ndarray:
    """Saved pictures [B, H, W, 3] in 0..255."""
    made = [client.fetch(image) for image in run.outputs[node_id]["images"]]
    return np.stack([np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), dtype=np.float32) for data in made])


def share(pixels: np.ndarray, colour: tuple[int, int, int]) -> float:
    """Share of pixels within 60 of a colour."""
    return float((np.linalg.norm(pixels - np.array(colour), axis=-1) < 60).mean())


def with_ksampler(graph: dict, cfg: float = 1.0, negative: list | None = None, positive: list | None = None) -> dict:
    """The variation graph with KSampler in place of guider, noise, sigmas and custom sampler."""
    kept = {key: value for key, value in graph.items() if key not in ("guider", "noise", "sampler", "sigmas")}
    kept["sample"] = node(
        "KSampler",
        model=["model", 0],
        positive=positive or ["guidance", 0],
        negative=negative or ["zero", 0],
        latent_image=["size", 0],
        seed=5,
        steps=12,
        cfg=cfg,
        sampler_name="euler",
        scheduler="simple",
        denoise=1.0,
    )
    kept["zero"] = node("ConditioningZeroOut", conditioning=["connect", 0])
    return kept


def looks_like_the_reference(pixels: np.ndarray) -> bool:
    return share(pixels, NAVY) > 0.4 and share(pixels, YELLOW) > 0.02 and share(pixels, CYAN) > 0.02


def test_custom_sampler(client, reference):
    run = client.run(variation(reference, steps=12, seed=5))
    assert looks_like_the_reference(pictures(client, run))


@pytest.mark.parametrize("photograph, grid", [("astronaut_512.png", (6, 6)), ("img_crop_301x197.png", (5, 8))])
def test_a_photograph(client, photograph, grid):
    """Outside what the demo checkpoint knows, yet the whole path runs, at 512x512 and at an odd size."""
    name = client.upload_image(DATA / photograph)
    run = client.run(variation(name, dots=LEFT, steps=12, seed=5))
    made, focus = pictures(client, run), pictures(client, run, "focus_save")
    assert made.shape == (1, 128, 128, 3) and made.std() > 10
    assert focus.shape[1:] == np.asarray(Image.open(DATA / photograph)).shape
    seams = [np.abs(np.diff(focus[0, :, :, 0], axis=axis)).any(axis=1 - axis).sum() for axis in (0, 1)]
    assert all(1 <= found < count for found, count in zip(seams, grid, strict=True)), seams


def test_ksampler(client, reference):
    run = client.run(with_ksampler(variation(reference)))
    assert looks_like_the_reference(pictures(client, run))


def test_cfg_with_a_negative_of_its_own(client, reference):
    """cfg above 1, with a prompt in the positive alone and a negative of another length."""
    graph = variation(reference, prompt="a yellow circle")
    graph["negative"] = node(
        "Qwen2VLConnector", qwen2vl=["qwen2vl", 0], tokens=["other", 0], clip=["text", 0], prompt=""
    )
    graph["other"] = node("Qwen2VLEncode", qwen2vl=["qwen2vl", 0], image=["image", 0], token_budget=64)
    graph = with_ksampler(graph, cfg=2.0, negative=["negative", 0])
    guided = pictures(client, client.run(graph))
    graph["sample"]["inputs"]["cfg"] = 1.0
    assert np.abs(guided - pictures(client, client.run(graph))).mean() > 0.5


def test_cfg_with_a_zeroed_negative(client, reference):
    run = client.run(with_ksampler(variation(reference, prompt="a yellow circle"), cfg=1.5))
    assert looks_like_the_reference(pictures(client, run))


def test_combine_and_timestep_range(client, reference):
    """The first half of the sampling looks left, the second right; then both at once."""
    graph = variation(reference, dots=LEFT, seed=5)
    graph["focus_right"] = node("GridDotFocus", tokens=["encode", 0], dots=RIGHT, mode="scale")
    graph["connect_right"] = node(
        "Qwen2VLConnector", qwen2vl=["qwen2vl", 0], tokens=["focus_right", 0], clip=["text", 0], prompt=""
    )
    graph["early"] = node("ConditioningSetTimestepRange", conditioning=["connect", 0], start=0.0, end=0.5)
    graph["late"] = node("ConditioningSetTimestepRange", conditioning=["connect_right", 0], start=0.5, end=1.0)
    graph["both"] = node("ConditioningCombine", conditioning_1=["early", 0], conditioning_2=["late", 0])
    early_only = pictures(client, client.run(with_ksampler(graph, positive=["connect", 0])))
    ranged = pictures(client, client.run(with_ksampler(graph, positive=["both", 0])))
    assert np.abs(ranged - early_only).mean() > 0.5
    graph["both"]["inputs"].update(conditioning_1=["connect", 0], conditioning_2=["connect_right", 0])
    combined = pictures(client, client.run(with_ksampler(graph, positive=["both", 0])))
    assert share(combined, NAVY) > 0.4
    assert np.abs(combined - early_only).mean() > 0.5


def test_combine_with_a_prompt(client, reference):
    """Conditioning with and without text tokens in one run."""
    graph = variation(reference, prompt="a yellow circle")
    graph["plain"] = node("Qwen2VLConnector", qwen2vl=["qwen2vl", 0], tokens=["encode", 0], clip=["text", 0], prompt="")
    graph["both"] = node("ConditioningCombine", conditioning_1=["connect", 0], conditioning_2=["plain", 0])
    both = pictures(client, client.run(with_ksampler(graph, positive=["both", 0])))
    alone = pictures(client, client.run(with_ksampler(graph, positive=["plain", 0])))
    assert np.abs(both - alone).mean() > 0.5


def test_a_batch_of_references_and_of_latents(client, reference, root):
    """Two references and four latents: each latent follows its own reference, in turns."""
    graph = variation(reference, batch_size=4, steps=12)
    graph["second"] = node("LoadImage", image=client.upload_image(root / "demo" / "scenes" / "plus_and_circle.png"))
    graph["pair"] = node("ImageBatch", image1=["image", 0], image2=["second", 0])
    graph["encode"]["inputs"]["image"] = ["pair", 0]
    made = pictures(client, client.run(graph))
    assert [share(picture, NAVY) > 0.4 for picture in made] == [True, False, True, False]
    assert [share(picture, MINT) > 0.4 for picture in made] == [False, True, False, True]


@pytest.mark.parametrize("weight_dtype", ["fp8_e4m3fn", "fp8_e4m3fn_fast", "fp8_e5m2"])
def test_turbo(client, reference, weight_dtype):
    """8-bit weights change pixels, not the scene; at two bits of mantissa (e5m2) an object may get lost."""
    graph = variation(reference, weight_dtype=weight_dtype, steps=12, seed=5)
    graph["qwen2vl"]["inputs"]["weight_dtype"] = "fp8_e4m3fn"
    made = pictures(client, client.run(graph))
    exact = pictures(client, client.run(variation(reference, steps=12, seed=5)))
    assert np.abs(made - exact).mean() > 0.1
    if weight_dtype == "fp8_e5m2":
        assert share(made, NAVY) > 0.4 and share(made, YELLOW) + share(made, CYAN) > 0.02
    else:
        assert looks_like_the_reference(made)


@pytest.mark.parametrize("mode", ["scale", "drop"])
def test_focus_keeps_the_object(client, reference, mode):
    """With the circle on one object its colour stays and the other's is gone, in most of four variations."""
    for dots, kept, gone in ((LEFT, YELLOW, CYAN), (RIGHT, CYAN, YELLOW)):
        run = client.run(variation(reference, dots=dots, focus_mode=mode, batch_size=4, steps=20, seed=1))
        made = pictures(client, run)
        steered = [share(picture, kept) > 0.02 and share(picture, gone) < 0.005 for picture in made]
        assert sum(steered) >= 3, (mode, dots, steered)


def test_a_moved_dot_runs_neither_loader_nor_encoder(client, reference):
    client.run(variation(reference, dots=LEFT, steps=2))
    run = client.run(variation(reference, dots='[{"x": 0.29, "y": 0.68, "r": 0.5, "w": 1}]', steps=2))
    assert {"qwen2vl", "encode", "model", "text", "vae", "image"} <= set(run.cached)
    assert {"focus", "connect", "sample"} <= set(run.executed)
    assert not {"qwen2vl", "encode", "model", "text", "vae", "image"} & set(run.executed)


@pytest.mark.parametrize("cache", ["EasyCache", "LazyCache"])
def test_a_cache_node_beside_a_prompt(client, reference, cache):
    """Behind Patch Model and before it: some steps are answered, by pictures that have the prompt in them."""
    settings = {"reuse_threshold": 0.2, "start_percent": 0.15, "end_percent": 0.95, "verbose": False}

    def made(prompt: str, cached: bool, patched_last: bool = False) -> np.ndarray:
        graph = variation(reference, prompt=prompt, steps=12, seed=5)
        if cached:
            graph["cache"] = node(cache, model=["model", 0], **settings)
            graph["patched"] = node("Qwen2VLFluxPatchModel", model=["cache", 0])
            graph["guider"]["inputs"]["model"] = ["patched" if patched_last else "cache", 0]
        return pictures(client, client.run(graph))

    behind = made("a yellow circle", cached=True)
    assert np.array_equal(made("a yellow circle", cached=True, patched_last=True), behind)
    assert not np.array_equal(made("a yellow circle", cached=False), behind)
    assert not np.array_equal(made("four red squares", cached=True), behind)


def test_an_unpatched_model_refuses_a_prompt(client, reference, server):
    """FLUX without the pack's patch would drop the prompt without a word."""
    graph = variation(reference, prompt="a yellow circle", steps=2)
    graph["model"] = node("UNETLoader", unet_name="demo_flux.safetensors", weight_dtype="default")
    with pytest.raises(NodeFailed, match="Qwen2VL-Flux Patch Model"):
        client.run(graph)
    graph["patched"] = node("Qwen2VLFluxPatchModel", model=["model", 0])
    graph["guider"]["inputs"]["model"] = ["patched", 0]
    single_file = pictures(client, client.run(graph))
    assert np.array_equal(
        single_file, pictures(client, client.run(variation(reference, prompt="a yellow circle", steps=2)))
    )
