"""Depth Anything V2 against transformers' own network, fed and read as the authors' infer_image does it with OpenCV.

The original code is in no package: tests/oracles/depth_anything.py restates its preprocessing and its position
embedding.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from annotator_weights import depth_shapes, write_depth, write_depth_folder
from PIL import Image
from torch.nn.functional import interpolate

from systems.annotators.depth_anything import network
from systems.annotators.depth_anything.annotator import DepthAnything, load_depth_anything, pixels_of
from systems.annotators.depth_anything.checkpoint import VARIANTS

LIMIT, PIXELS = 2e-5, 1e-6
SIZES = {"wide": (300, 420), "square": (518, 518), "tall": (600, 501), "tiny": (1, 1), "narrow": (41, 60)}


def stretched(depth: torch.Tensor) -> torch.Tensor:
    return (depth - depth.min()) / (depth.max() - depth.min())


def as_image(picture: torch.Tensor) -> torch.Tensor:
    return picture[None].float() / 255


def made(model: DepthAnything, picture: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return model.depth(as_image(picture))[0, ..., 0]


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return write_depth(tmp_path_factory.mktemp("depth") / "depth_anything_v2_vits.pth")


@pytest.fixture(scope="module")
def pictures(root) -> dict[str, torch.Tensor]:
    """Noise of all sizes, and a photograph; uint8 [H, W, 3]."""
    generator = torch.Generator().manual_seed(20261120)
    noise = {
        name: torch.randint(0, 256, (*size, 3), dtype=torch.uint8, generator=generator) for name, size in SIZES.items()
    }
    photograph = Image.open(root / "tests" / "data" / "qwen2vl_flux" / "astronaut_512.png").convert("RGB")
    return {**noise, "photograph": torch.from_numpy(np.array(photograph))}


@pytest.fixture(scope="module")
def reference(oracle, file, pictures) -> dict[str, torch.Tensor]:
    return oracle("depth_anything", pictures, file, "vits", "original")


@pytest.mark.parametrize("name", [*SIZES, "photograph"])
def test_maps(file, pictures, reference, name):
    model = load_depth_anything(file)
    assert (pixels_of(as_image(pictures[name])[0]) - reference[f"pixels.{name}"]).abs().max() <= PIXELS
    expected = reference[f"depth.{name}"]
    own = made(model, pictures[name])
    if name == "tiny":  # one pixel is one depth
        assert expected.shape == own.shape == (1, 1) and own.item() == 0
        return
    assert expected.std() > 0.3 and expected.max() > 1
    assert own.min() == 0 and own.max() == 1
    assert (own - stretched(expected)).abs().max() <= LIMIT


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["vitb", "vitl"])
def test_larger_models(oracle, pictures, tmp_path, variant):
    file = write_depth(tmp_path / "weights.pth", variant)
    picture = {"wide": pictures["wide"][:200, :210]}
    expected = oracle("depth_anything", picture, file, variant, "original")["depth.wide"]
    model = load_depth_anything(file)
    assert model.variant.name == variant and expected.std() > 0.3
    assert (made(model, picture["wide"]) - stretched(expected)).abs().max() <= LIMIT


@pytest.fixture(scope="module")
def small_folder(tmp_path_factory):
    """As transformers saves a model of sizes that nobody published."""
    return write_depth_folder(tmp_path_factory.mktemp("small") / "folder")


@pytest.fixture(scope="module")
def small_reference(oracle, small_folder, pictures) -> dict[str, torch.Tensor]:
    return oracle("depth_anything", pictures, small_folder, "any", "original")


@pytest.mark.parametrize("name", ["wide", "square", "tall", "narrow", "photograph"])
def test_a_folder_of_any_sizes(small_folder, pictures, small_reference, name):
    model = load_depth_anything(small_folder)
    expected = small_reference[f"depth.{name}"]
    assert expected.std() > 0.1 and expected.max() > 1
    assert (made(model, pictures[name]) - stretched(expected)).abs().max() <= LIMIT


@pytest.mark.parametrize("wrong", [{"heads": 4}, {"taps": (0, 1, 3, 4)}, {"heads": 1}], ids=str)
def test_wrong_sizes_are_seen(small_folder, pictures, small_reference, wrong):
    """Those that the tensors' shapes do not show."""
    model = load_depth_anything(small_folder)
    other = network.DepthAnythingNetwork(dataclasses.replace(model.variant, **wrong), torch.nn)
    other.load_state_dict(model.network.state_dict())
    with torch.inference_mode():
        raw = other(small_reference["pixels.wide"])
    difference = (_finished(raw, pictures["wide"]) - stretched(small_reference["depth.wide"])).abs().max()
    assert difference > 100 * LIMIT


@pytest.fixture(scope="module")
def saved_by_transformers(oracle, file, pictures, tmp_path_factory):
    """What unchanged transformers makes of two pictures, and the folder that it saves the model to."""
    folder = tmp_path_factory.mktemp("Depth-Anything-V2-Small-hf")
    both = {name: pictures[name] for name in ("square", "wide")}
    return oracle("depth_anything", both, file, "vits", "transformers", folder), folder


def test_transformers_as_it_is(saved_by_transformers, file, pictures):
    """The same depth where the position embedding is used whole; off the square transformers stretches it otherwise
    than the original, which costs as much as a tenth with random weights."""
    found, _ = saved_by_transformers
    model = load_depth_anything(file)
    errors = {
        name: (made(model, pictures[name]) - stretched(found[f"depth.{name}"])).abs().max()
        for name in ("square", "wide")
    }
    assert errors["square"] <= LIMIT and errors["wide"] > 1e-2


def test_a_folder_of_hugging_face_is_the_original_file(saved_by_transformers, file):
    """Written by transformers itself from the original weights, read back bit for bit."""
    _, folder = saved_by_transformers
    assert {"config.json", "model.safetensors"} <= {path.name for path in folder.iterdir()}
    original, converted = (load_depth_anything(place).network.state_dict() for place in (file, folder))
    assert original.keys() == converted.keys()
    assert all(torch.equal(value, converted[name]) for name, value in original.items())


def test_every_published_tensor_has_its_place(file):
    state = load_depth_anything(file).network.state_dict()
    unused = {"pretrained.mask_token"}
    unused |= {name for name in depth_shapes("vits") if name.startswith("depth_head.scratch.refinenet4.resConfUnit1.")}
    assert len(unused) == 5 and state.keys() == depth_shapes("vits").keys() - unused


# ---- wrong ways ----------------------------------------------------------------------------------------------------


def _raw(model: DepthAnything, pixels: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return model.network(pixels)


def _finished(raw: torch.Tensor, picture: torch.Tensor, **how) -> torch.Tensor:
    how = {"mode": "bilinear", "align_corners": True, **how}
    return stretched(interpolate(raw, picture.shape[:2], **how)[0, 0])


def _normalised(values: torch.Tensor) -> torch.Tensor:
    mean, std = (torch.tensor(value).reshape(3, 1, 1) for value in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    return (values - mean) / std


def _resized(picture: torch.Tensor, size: tuple[int, int] = (518, 728), **how) -> torch.Tensor:
    return interpolate(as_image(picture).movedim(-1, 1), size, **{"mode": "bicubic", **how})


WRONG_PIXELS = {
    "BGR": lambda picture: pixels_of(as_image(picture)[0].flip(-1)),
    "bilinear": lambda picture: _normalised(_resized(picture, mode="bilinear")),
    "antialias": lambda picture: _normalised(_resized(picture, antialias=True)),
    "not normalised": lambda picture: _resized(picture),
    "stretched to a square": lambda picture: _normalised(_resized(picture, (518, 518))),
    "longer side at 518": lambda picture: _normalised(_resized(picture, (364, 518))),
}


@pytest.mark.parametrize("way", WRONG_PIXELS)
def test_wrong_pixels_are_seen(file, pictures, reference, way):
    raw = _raw(load_depth_anything(file), WRONG_PIXELS[way](pictures["wide"]))
    assert (_finished(raw, pictures["wide"]) - stretched(reference["depth.wide"])).abs().max() > 100 * LIMIT


def test_wrong_corners_are_seen(file, pictures, reference):
    raw = _raw(load_depth_anything(file), reference["pixels.wide"])
    right = stretched(reference["depth.wide"])
    assert (_finished(raw, pictures["wide"]) - right).abs().max() <= LIMIT
    assert (_finished(raw, pictures["wide"], align_corners=False) - right).abs().max() > 100 * LIMIT


@pytest.mark.parametrize("taps", [(8, 9, 10, 11), (3, 6, 9, 11), (11, 8, 5, 2)], ids=["V1", "one later", "reversed"])
def test_wrong_taps_are_seen(file, pictures, reference, taps):
    model = load_depth_anything(file)
    variant = dataclasses.replace(VARIANTS[0], taps=taps)
    wrong = network.DepthAnythingNetwork(variant, torch.nn)
    wrong.load_state_dict(model.network.state_dict())
    if taps[0] > taps[-1]:
        backbone = wrong.pretrained
        backbone.register_forward_hook(lambda module, inputs, maps: maps[::-1])
    with torch.inference_mode():
        raw = wrong(reference["pixels.wide"])
    difference = (_finished(raw, pictures["wide"]) - stretched(reference["depth.wide"])).abs().max()
    assert difference > 100 * LIMIT


def test_a_wrong_position_embedding_is_seen(file, pictures, reference, monkeypatch):
    monkeypatch.setattr(network, "POSITION_OFFSET", 0.0)
    difference = (made(load_depth_anything(file), pictures["wide"]) - stretched(reference["depth.wide"])).abs().max()
    assert difference > 100 * LIMIT
