"""AnyLine against controlnet-aux's AnylineDetector, pixel for pixel, and OpenCV's resizes without OpenCV."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from annotator_weights import write_mteed
from PIL import Image

from systems.annotators.anyline import annotator as detector
from systems.annotators.anyline.annotator import load_anyline
from systems.common.opencv_resize import resize_area, resize_lanczos, resize_linear

RESOLUTIONS = {
    1280: ["photograph", "flat"],
    320: ["photograph", "half", "noise", "wide", "tall", "large", "mixed", "flat", "dot"],
}
# Share of pixels that may differ: without fused multiply-add, or with another build of OpenCV, a value on the edge
# between two bytes can fall to the other side.
FLIPPED = 1e-4


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return write_mteed(tmp_path_factory.mktemp("anyline") / "MTEED.pth")


@pytest.fixture(scope="module")
def pictures(root) -> dict[str, torch.Tensor]:
    """uint8 [H, W, 3]: larger and smaller than the resolution in one or both ways, twice as large, and plain."""
    generator = torch.Generator().manual_seed(20261120)

    def drawing(height: int, width: int) -> torch.Tensor:
        """Lines and blobs: noise at a quarter of the size, made larger without smoothing, over a slope."""
        small = torch.randint(0, 256, (-(-height // 4), -(-width // 4), 3), generator=generator)
        large = small.repeat_interleave(4, 0).repeat_interleave(4, 1)[:height, :width]
        return (large // 2 + torch.linspace(0, 127, width)[None, :, None].int()).to(torch.uint8)

    photograph = Image.open(root / "tests" / "data" / "qwen2vl_flux" / "astronaut_512.png").convert("RGB")
    return {
        "photograph": torch.from_numpy(np.array(photograph)),
        "half": drawing(160, 192),
        "noise": torch.randint(0, 256, (200, 231, 3), generator=generator).to(torch.uint8),
        "wide": drawing(100, 390),
        "tall": drawing(381, 333),
        "large": drawing(1024, 1280),
        "mixed": drawing(322, 349),  # the longer side grows to 384 while the shorter one shrinks
        "flat": torch.full((90, 100, 3), 140, dtype=torch.uint8),
        "dot": torch.full((1, 1, 3), 7, dtype=torch.uint8),
    }


@pytest.fixture(scope="module")
def reference(oracle, file, pictures) -> dict[int, dict[str, torch.Tensor]]:
    return {
        resolution: oracle("anyline", {name: pictures[name] for name in names}, file.parent, file.name, resolution)
        for resolution, names in RESOLUTIONS.items()
    }


def made(file, picture: torch.Tensor, resolution: int) -> torch.Tensor:
    """Lines uint8 [H, W, 3] of a picture in bytes."""
    with torch.inference_mode():
        lines = load_anyline(file).lines(picture[None].float() / 255, resolution)[0]
    assert lines.isfinite().all() and lines.min() >= 0 and lines.max() <= 1
    return (lines * 255).round().to(torch.uint8)


def flipped(own: torch.Tensor, expected: torch.Tensor) -> float:
    """Share of the pixels that differ."""
    assert own.shape == expected.shape
    return (own != expected).any(dim=-1).float().mean().item()


@pytest.mark.parametrize(
    "resolution, name", [(resolution, name) for resolution, names in RESOLUTIONS.items() for name in names]
)
def test_lines(file, pictures, reference, resolution, name):
    expected = reference[resolution][f"lines.{name}"]
    own = made(file, pictures[name], resolution)
    assert flipped(own, expected) <= FLIPPED
    assert (own.float() - expected.float()).abs().mean() / 255 <= 1e-4


def test_the_pictures_reach_every_step(reference):
    """Edges in all three steps, and dark lines: what is compared above is not black on black."""
    edges = torch.sigmoid(reference[320]["logits.photograph"].mean(dim=0))
    for low, high in ((0, 1 / 3), (1 / 3, 2 / 3), (2 / 3, 1)):
        assert ((edges > low) & (edges < high)).float().mean() > 0.05
    assert reference[320]["lines.photograph"].unique().numel() > 100


def test_the_network(file, pictures, reference):
    picture = pictures["half"].numpy()
    pixels = torch.from_numpy(resize_lanczos(picture, 384, 320)).float().movedim(-1, 0)[None]
    with torch.inference_mode():
        logits = load_anyline(file).network(pixels)[0]
    expected = reference[320]["logits.half"]
    assert (logits - expected).abs().max() <= 1e-5 * expected.abs().max()


def _seen(file, pictures, reference, name: str = "photograph") -> bool:
    return flipped(made(file, pictures[name], 320), reference[320][f"lines.{name}"]) > 10 * FLIPPED


@pytest.mark.parametrize("value", range(0, 256, 51))
def test_a_flat_picture_has_no_dark_lines(value):
    """The median of no lines is no number: the published code warns of it and goes on with 16 by the order of max()'s
    arguments."""
    lines = detector.dark_lines(np.full((64, 128, 3), value, dtype=np.uint8))
    assert lines.dtype == np.uint8 and not lines.any()


@pytest.mark.parametrize(
    "constant, value, name",
    [
        ("SMALLEST", 36, "tall"),
        ("SMALLEST", 1, "tall"),
        ("FAINT", 0, "noise"),
        ("BLUR", 1.0, "tall"),
        ("STEP", 8, "tall"),
    ],
)
def test_a_wrong_constant_is_seen(file, pictures, reference, monkeypatch, constant, value, name):
    monkeypatch.setattr(detector, constant, value)
    assert _seen(file, pictures, reference, name)


def test_wrong_ways_are_seen(file, pictures, reference, monkeypatch):
    """BGR, a picture moved by one pixel, sums that do not wrap around, and resizes by other filters."""
    assert not _seen(file, pictures, reference)
    assert flipped(made(file, pictures["photograph"].flip(-1), 320), reference[320]["lines.photograph"]) > 10 * FLIPPED
    assert _seen(file, pictures, {320: {"lines.photograph": reference[320]["lines.photograph"].roll(1, dims=0)}})
    with monkeypatch.context() as changed:
        changed.setattr(detector, "joined", np.maximum)
        assert _seen(file, pictures, reference)
    with monkeypatch.context() as changed:
        changed.setattr(detector, "resize_area", resize_linear)
        assert _seen(file, pictures, reference)
    with monkeypatch.context() as changed:
        changed.setattr(detector, "resize_lanczos", resize_linear)
        assert _seen(file, pictures, reference, "half")
    with monkeypatch.context() as changed:
        changed.setattr(detector, "resize_linear", resize_lanczos)
        assert _seen(file, pictures, reference)


WAYS = {"linear": resize_linear, "lanczos": resize_lanczos, "area": resize_area}


def test_resizes_are_opencv_s(oracle):
    """120 resizes between random sizes, whole multiples among them, and of pictures in black and white."""
    generator = np.random.default_rng(20261120)
    sources, sizes = {}, {}
    for number in range(40):
        height, width, rows, columns = (int(edge) for edge in generator.integers(1, 200, 4))
        if number % 4 == 0:
            rows, columns = height * int(generator.integers(1, 4)), width * int(generator.integers(1, 4))
        if number % 8 == 4:
            height, width, rows, columns = rows, columns, height, width
        values = generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
        sources[f"{number}"] = torch.from_numpy(values if number % 3 else (values > 127).astype(np.uint8) * 255)
        sizes[f"{number}"] = (columns, rows)
    flat = torch.tensor([sizes[name] for name in sources])
    made = oracle("opencv_resize", {**sources, "sizes": flat})
    for name, source in sources.items():
        for way, resize in WAYS.items():
            own = resize(source.numpy(), *sizes[name])
            assert np.array_equal(own, made[f"{way}.{name}"].numpy()), (way, source.shape, sizes[name])
