"""Soft masks through ComfyUI's own Differential Diffusion, in the real server, on the trained demo checkpoint."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from client.comfy_client import ComfyClient
from client.qwen2vl_flux.graph import Prompt, inpaint, node

SIDE = 128
BANDS = np.repeat([0.0, 0.25, 0.5, 0.75, 1.0], [26, 26, 24, 26, 26])[None].repeat(SIDE, axis=0)
RAMP = np.linspace(0, 1, SIDE)[:, None].repeat(SIDE, axis=1)
KEPT = 10  # grey levels of what is not repainted: the VAE's error


@pytest.fixture(scope="module")
def scenes(server, root: Path) -> tuple[str, str]:
    """What is repainted: a striped circle and a square; and what guides: a triangle and a cross on grey."""
    client = ComfyClient(server.url)
    names = ("circle_and_square.png", "triangle_and_plus.png")
    return tuple(client.upload_image(root / "demo" / "scenes" / name) for name in names)


@pytest.fixture
def repainted(client, scenes, root: Path, tmp_path: Path):
    """repainted(levels, soft, differential, **settings): the pictures [B, H, W, 3] under a mask of those levels, and
    how far each pixel is from the picture that was there. blur is a radius, for ComfyUI's nodes as on the help page."""
    before = Image.open(root / "demo" / "scenes" / "circle_and_square.png").convert("RGB").resize((SIDE, SIDE))

    def run(
        levels: np.ndarray, soft: bool, differential: bool, blur: int = 0, **settings
    ) -> tuple[np.ndarray, np.ndarray]:
        path = tmp_path / "mask.png"
        Image.fromarray((levels * 255).round().astype(np.uint8)).save(path)
        settings = {"reference": scenes[1], "strength": 1.0, "steps": 20, "size": SIDE, **settings}
        graph = inpaint(scenes[0], client.upload_image(path), **settings)
        graph["prepare"]["inputs"]["soft_mask"] = soft
        if blur:
            graph["as_picture"] = node("MaskToImage", mask=["mask", 0])
            graph["blurred"] = node("ImageBlur", image=["as_picture", 0], blur_radius=blur, sigma=10.0)
            graph["as_mask"] = node("ImageToMask", image=["blurred", 0], channel="red")
            graph["prepare"]["inputs"]["mask"] = ["as_mask", 0]
        if differential:
            graph["differential"] = node("DifferentialDiffusion", model=["model", 0])
            graph["guider"]["inputs"]["model"] = ["differential", 0]
        made = pictures(client, graph)
        return made, np.abs(made - np.asarray(before, dtype=np.float32)).mean(axis=-1)

    return run


def pictures(client: ComfyClient, graph: Prompt) -> np.ndarray:
    files = [client.fetch(image) for image in client.run(graph).outputs["save"]["images"]]
    return np.stack([np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), dtype=np.float32) for data in files])


def bands(change: np.ndarray) -> np.ndarray:
    """The mean change [B, 5] under each grey of BANDS."""
    return np.stack([change[:, BANDS == grey].mean(axis=1) for grey in np.unique(BANDS)], axis=1)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_brighter_the_mask_the_more_changes(repainted, seed):
    _, change = repainted(BANDS, soft=True, differential=True, seed=seed)
    (black, *greys, white) = bands(change)[0]
    assert black < KEPT and white > 50
    assert black + 10 < greys[0] and greys == sorted(greys) and greys[-1] < white - 3


def test_a_batch_under_a_ramp_at_a_strength(repainted):
    """The change grows from the top of each picture to its bottom."""
    _, change = repainted(RAMP, soft=True, differential=True, batch_size=2, strength=0.8, steps=24, seed=5)
    assert change.shape == (2, SIDE, SIDE)
    quarters = change.reshape(2, 4, -1).mean(axis=-1)
    assert (np.diff(quarters, axis=1) > 3).all()
    _, cut = repainted(RAMP, soft=False, differential=True, batch_size=2, strength=0.8, steps=24, seed=5)
    assert (quarters[:, 1] > 2 * cut.reshape(2, 4, -1).mean(axis=-1)[:, 1]).all()


def test_a_painted_mask_is_blurred_on_its_way(repainted):
    """The edge of the right half wanders over into the left, and less the farther from it."""
    half = np.arange(SIDE)[None].repeat(SIDE, axis=0) >= SIDE // 2
    _, soft = repainted(half.astype(float), soft=True, differential=True, blur=31)
    _, hard = repainted(half.astype(float), soft=False, differential=True)
    far, near, edge, white = (slice(0, 32), slice(32, 48), slice(48, 64), slice(100, 128))
    assert soft[..., far].mean() < KEPT and hard[..., near].mean() < KEPT
    assert hard[..., edge].mean() + 10 < soft[..., edge].mean() < soft[..., white].mean()
    assert soft[..., far].mean() < soft[..., near].mean() < soft[..., edge].mean()


def test_one_grey_redraws_all_and_keeps_the_layout(repainted):
    """Half way, the shapes of the picture are settled, and the reference's ground and colours come."""
    made, change = repainted(np.full((SIDE, SIDE), 0.5), soft=True, differential=True)
    _, whole = repainted(np.ones((SIDE, SIDE)), soft=True, differential=True)
    assert KEPT * 2 < change.mean() < whole.mean() - 10
    stripes = made[0, 16:60, 40:48].mean(axis=(1, 2))
    assert np.ptp(stripes) > 50, "the circle's stripes"


def test_a_hard_mask_takes_no_part_in_it(repainted):
    """Cut at one half, with Differential Diffusion or without."""
    with_it, change = repainted(BANDS, soft=False, differential=True)
    without, _ = repainted(BANDS, soft=False, differential=False)
    assert np.array_equal(with_it, without)
    black, dark, middle, bright, white = bands(change)[0]
    assert max(black, dark) < KEPT and min(middle, bright, white) > 40


def test_without_differential_diffusion_greys_hardly_change(repainted):
    """Each step mixes the picture back in by the share that is black, which is a fade, and up to one half next to
    nothing."""
    _, change = repainted(BANDS, soft=True, differential=False)
    _, later = repainted(BANDS, soft=True, differential=True)
    (black, dark, middle, bright, white), (_, *greys, _) = bands(change)[0], bands(later)[0]
    assert black < KEPT and dark < KEPT and middle < 15 < bright < 30 and white > 40
    assert all(faded < 0.5 * grey for faded, grey in zip((dark, middle, bright), greys, strict=True))
