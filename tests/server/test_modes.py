"""img2img, inpaint and ControlNet in the real server on the demo checkpoint: what stays and what changes."""

from __future__ import annotations

import io
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageDraw

from client.comfy_client import ComfyClient, NodeFailed
from client.qwen2vl_flux.graph import ALPHA_MASK, Hint, Prompt, controlnet, image_to_image, inpaint, node
from systems.flux_union.checkpoint import STEM

# The pixels beyond which an inpainted part does not reach through the autoencoder.
FAR = 32


@pytest.fixture(scope="module")
def reference(server, root) -> str:
    """A circle and a square of two colours, on a third."""
    return ComfyClient(server.url).upload_image(root / "demo" / "reference.png")


@pytest.fixture(scope="module")
def other(server, root) -> str:
    """A triangle and a plus of other colours."""
    return ComfyClient(server.url).upload_image(root / "demo" / "scenes" / "triangle_and_plus.png")


@pytest.fixture(scope="module")
def mask(server, tmp_path_factory) -> str:
    """White over the square of the reference, to the right of column 60 and above row 72."""
    path = tmp_path_factory.mktemp("mask") / "mask.png"
    picture = Image.new("L", (128, 128))
    ImageDraw.Draw(picture).rectangle((60, 8, 120, 72), fill=255)
    picture.save(path)
    return ComfyClient(server.url).upload_image(path)


def made(client: ComfyClient, prompt: Prompt, node_id: str = "save") -> np.ndarray:
    """Saved pictures [B, H, W, 3] in 0..255."""
    images = client.run(prompt).outputs[node_id]["images"]
    opened = [Image.open(io.BytesIO(client.fetch(image))).convert("RGB") for image in images]
    return np.stack([np.asarray(picture, dtype=np.float32) for picture in opened])


def through_the_vae(client: ComfyClient, prompt: Prompt) -> np.ndarray:
    """The prepared picture as the autoencoder alone gives it back."""
    kept = {name: prompt[name] for name in ("image", "prepare", "vae", "latent", "save")}
    kept["decode"] = node("VAEDecode", samples=["latent", 0], vae=["vae", 0])
    if "mask" in prompt["prepare"]["inputs"]:
        kept["prepare"] = node(**{"class_type": "Qwen2VLFluxPrepareImage", **prompt["prepare"]["inputs"]})
        del kept["prepare"]["inputs"]["mask"]
    return made(client, kept)


def beyond_the_mask(far: int = FAR) -> np.ndarray:
    """Bool [128, 128]: where a repainted part does not reach through the autoencoder."""
    rest = np.ones((128, 128), bool)
    rest[max(0, 8 - far) : 72 + far, 60 - far :] = False
    return rest


def test_strength_decides_how_much_stays(client, reference):
    """At strength 0 the autoencoder's picture comes back bit for bit; above, the more the farther from it."""
    kept = through_the_vae(client, image_to_image(reference))
    away = []
    for strength in (0.0, 0.3, 0.9):
        pixels = made(client, image_to_image(reference, strength=strength, steps=10, seed=5))
        away.append(np.abs(pixels - kept).mean())
    assert away[0] == 0 < away[1] < away[2]


def test_another_picture_gives_the_look(client, reference, other):
    """From the same latent and noise."""
    told = {"strength": 0.6, "steps": 4, "seed": 3}
    own, looked = (made(client, image_to_image(reference, reference=name, **told)) for name in ("", other))
    assert np.abs(own - looked).mean() > 5


def test_the_focus_is_on_the_picture_that_is_encoded(client, reference, other):
    """With a reference its own dots count; the published script would not look at them without one."""
    dots = '[{"x": 0.3, "y": 0.3, "r": 0.4}]'
    settings = {"strength": 0.9, "steps": 6, "seed": 3, "dots": dots}
    focused = image_to_image(reference, **settings)
    published = image_to_image(reference, as_published=True, **settings)
    plain = image_to_image(reference, **{**settings, "dots": ""})
    assert published == plain and "focus" in focused
    assert not np.array_equal(made(client, focused), made(client, plain))
    both = image_to_image(reference, reference=other, **settings)
    assert both == image_to_image(reference, reference=other, as_published=True, **settings)
    assert both["encode"]["inputs"]["image"] == ["reference", 0]


@pytest.mark.parametrize("batch_size", [1, 3])
def test_inpaint_leaves_the_rest_alone(client, reference, mask, batch_size):
    """Within the autoencoder's own error, away from the seam by as far as it looks around."""
    prompt = inpaint(reference, mask, strength=1.0, steps=12, seed=3, batch_size=batch_size)
    kept = through_the_vae(client, prompt)[0]
    pictures = made(client, prompt)
    assert len(pictures) == batch_size
    rest = beyond_the_mask()
    for pixels in pictures:
        assert np.abs(pixels - kept)[rest].max() <= 1
        assert np.abs(pixels - kept)[~rest].mean() > 5


def test_inpaint_with_another_picture(client, reference, mask, other):
    """It changes the masked part and nothing else."""
    told = {"strength": 1.0, "steps": 4, "seed": 3}
    own, looked = (made(client, inpaint(reference, mask, reference=name, **told))[0] for name in ("", other))
    rest = beyond_the_mask()
    assert np.abs(looked - own)[rest].max() <= 1
    assert np.abs(looked - own)[~rest].mean() > 5


def test_a_painted_mask_is_the_same_as_a_mask_file(client, reference, mask, root, tmp_path):
    """ComfyUI's mask editor makes the painted part transparent."""
    picture = Image.open(root / "demo" / "reference.png").convert("RGBA")
    alpha = Image.new("L", (128, 128), 255)
    ImageDraw.Draw(alpha).rectangle((60, 8, 120, 72), fill=0)
    picture.putalpha(alpha.resize(picture.size, Image.Resampling.NEAREST))
    picture.save(tmp_path / "painted.png")
    painted = client.upload_image(tmp_path / "painted.png")
    settings = {"strength": 0.8, "steps": 4, "seed": 1}
    by_file, by_paint = (
        made(client, inpaint(*given, **settings)) for given in ((reference, mask), (painted, ALPHA_MASK))
    )
    assert np.abs(by_file - by_paint).max() <= 1  # LoadImage leaves colours under the paint as they are


def test_an_unpainted_picture(client, reference):
    with pytest.raises(NodeFailed, match="The mask is empty, so nothing would be inpainted"):
        client.run(inpaint(reference, ALPHA_MASK, steps=1))


@pytest.mark.parametrize("ratio, size", [("16:9", (160, 96)), ("3:4", (112, 144)), (None, (128, 128))])
def test_aspect_ratios(client, reference, ratio, size):
    pixels = made(client, image_to_image(reference, aspect_ratio=ratio, steps=2))
    assert pixels.shape[1:3] == (size[1], size[0])


def test_a_large_picture_comes_down_to_its_size(client, example):
    """ComfyUI's example.png is 512 pixels wide; at size 128 it becomes a picture of 128."""
    assert made(client, image_to_image(example, steps=2)).shape == (1, 128, 128, 3)


@pytest.mark.parametrize("weight_dtype", ["fp8_e4m3fn", "fp8_e5m2"])
def test_turbo(client, reference, mask, weight_dtype):
    settings = {"steps": 8, "seed": 3}
    exact = made(client, inpaint(reference, mask, **settings))
    turbo = made(client, inpaint(reference, mask, weight_dtype=weight_dtype, **settings))
    assert 0 < np.abs(turbo - exact).mean() < 12


def test_native_sampling_nodes(client, reference, mask):
    """KSampler with its own denoise in place of guider, sigmas and custom sampler."""
    graph = inpaint(reference, mask, steps=12, seed=3)
    for name in ("guider", "noise", "sampler", "sigmas"):
        del graph[name]
    graph["zero"] = node("ConditioningZeroOut", conditioning=["connect", 0])
    graph["sample"] = node(
        "KSampler",
        model=["model", 0],
        positive=["guidance", 0],
        negative=["zero", 0],
        latent_image=["batch", 0],
        seed=3,
        steps=12,
        cfg=1.0,
        sampler_name="euler",
        scheduler="simple",
        denoise=0.8,
    )
    kept, pixels = through_the_vae(client, inpaint(reference, mask))[0], made(client, graph)[0]
    rest = beyond_the_mask()
    assert np.abs(pixels - kept)[rest].max() <= 1
    assert np.abs(pixels - kept)[~rest].mean() > 2


@pytest.fixture(scope="module")
def guided(small) -> dict[str, object]:
    """ControlNet and annotators of random weights: they disturb the picture rather than guide it."""
    hints = [
        Hint("depth", "small/depth-anything-v2/small", 0.1),
        Hint("line", "small/anyline/MTEED.pth", 0.1),
    ]
    return {"hints": hints, "control_net": "small/controlnet", "checkpoint": "small", "steps": 6, "seed": 3}


def test_controlnet(client, reference, other, guided):
    """Each hint counts, and the maps are of the picture's size; without strength both leave the picture alone."""
    run = client.run(controlnet(reference, reference=other, **guided))
    for name in ("depth_save", "line_save", "save"):
        (image,) = run.outputs[name]["images"]
        assert Image.open(io.BytesIO(client.fetch(image))).size == (128, 128)
    both = made(client, controlnet(reference, reference=other, **guided))
    depth = made(client, controlnet(reference, reference=other, **{**guided, "hints": guided["hints"][:1]}))
    assert np.abs(both - depth).mean() > 1
    mute = [Hint(hint.annotator, hint.model, 0.0) for hint in guided["hints"]]
    silent = made(client, controlnet(reference, reference=other, **{**guided, "hints": mute}))
    settings = {"checkpoint": "small", "steps": 6, "seed": 3}
    assert np.abs(silent - made(client, image_to_image(reference, reference=other, **settings))).max() <= 1


def test_a_focus_leaves_the_tokens_of_the_controlnet_whole(client, reference, other, guided):
    """The ControlNet gets the picture itself, whether the focus is on it or on a reference."""
    settings = {**guided, "hints": guided["hints"][:1], "dots": '[{"x": 0.28, "y": 0.68, "r": 0.4}]', "steps": 4}
    prompt = controlnet(reference, **settings)
    assert prompt["connect"]["inputs"]["control_tokens"] == ["encode", 0]
    with_another = controlnet(reference, reference=other, **settings)
    assert with_another["connect"]["inputs"]["control_tokens"] == ["encode_control", 0]
    assert "control_tokens" not in controlnet(reference, **{**settings, "dots": ""})["connect"]["inputs"]
    thinned = controlnet(reference, **settings)
    thinned["connect"]["inputs"]["control_tokens"] = ["focus", 0]
    assert not np.array_equal(made(client, prompt), made(client, thinned))


def test_a_controlnet_without_modes(client, reference, guided, controlnet_folder, root):
    """The demo's without its mode embedder, as single-purpose ones are: prompt and focus reach it by the same graph."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(root / "demo" / "controlnet", controlnet_folder / "modeless")
    config, weights = controlnet_folder / "modeless" / "config.json", f"{STEM}.safetensors"
    config.write_text(json.dumps({**json.loads(config.read_text()), "num_mode": None}))
    state = load_file(controlnet_folder / "modeless" / weights)
    kept = {name: value for name, value in state.items() if not name.startswith("controlnet_mode_embedder.")}
    assert len(kept) < len(state)
    save_file(kept, controlnet_folder / "modeless" / weights)
    settings = {"control_net": "modeless", "checkpoint": "demo", "steps": 4, "prompt": "a red circle"}
    settings["hints"] = [replace(hint, strength=1.0) for hint in guided["hints"][:1]]
    with_tokens = controlnet(reference, **settings)
    without = controlnet(reference, **settings)
    without["depth_control"]["inputs"]["control_net"] = ["control_net", 0]
    assert not np.array_equal(made(client, with_tokens), made(client, without))


def test_the_published_start_forgets_the_picture(client, reference, guided):
    """At little strength the picture shows through by default, and not from pure noise."""
    kept = through_the_vae(client, image_to_image(reference))
    mute = [Hint(hint.annotator, hint.model, 0.0) for hint in guided["hints"]]
    settings = {**guided, "hints": mute, "strength": 0.3, "steps": 10}
    ours, published = (made(client, controlnet(reference, as_published=mode, **settings)) for mode in (False, True))
    assert np.abs(ours - kept).mean() < 8 < np.abs(published - kept).mean()


def test_controlnet_inpaint_leaves_the_rest_alone(client, reference, mask, guided):
    prompt = controlnet(reference, mask=mask, **{**guided, "strength": 1.0}, batch_size=2)
    kept = through_the_vae(client, prompt)[0]
    pictures = made(client, prompt)
    assert len(pictures) == 2
    rest = np.ones((128, 128), bool)
    rest[: 80 + FAR, 52 - FAR :] = False  # the noise of random weights is seen from farther
    for pixels in pictures:
        assert np.abs(pixels - kept)[rest].max() <= 1
        assert np.abs(pixels - kept)[~rest].mean() > 5


def test_a_single_file_with_the_native_loader_is_the_same(client, reference, guided):
    """ComfyUI's own loader and the pack's give one picture; the prompt reaches both the FLUX and the ControlNet."""
    settings = {**guided, "hints": guided["hints"][:1], "prompt": "a red circle"}
    folder = made(client, controlnet(reference, **settings))
    single = made(client, controlnet(reference, **{**settings, "control_net": "union.safetensors"}))
    assert np.array_equal(folder, single)
    assert not np.array_equal(folder, made(client, controlnet(reference, **{**settings, "prompt": "two blue squares"})))
