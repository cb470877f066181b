"""The embedded checkpoint's annotators: what they learn from, that they learn, and that the pack reads what they
become."""

from __future__ import annotations

import json
import math

import pytest
import torch
from torch.nn import functional

from lab.demo import annotators
from lab.world import hints
from lab.world.scenes import random_layout, random_scenes, render
from systems.annotators.anyline.annotator import load_anyline
from systems.annotators.depth_anything.annotator import MEAN, SIDE, STD, load_depth_anything, pixels_of

CPU = torch.device("cpu")
STEPS = 40


def seeded(seed: int = 0) -> torch.Generator:
    torch.manual_seed(seed)
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def depths():
    """The depth network before and after a few steps."""
    return [annotators.train_depth(seeded(), CPU, steps) for steps in (0, STEPS)]


@pytest.fixture(scope="module")
def lines():
    """The line network before and after a few steps."""
    return [annotators.train_line(seeded(), CPU, steps) for steps in (0, STEPS)]


# ---- what they learn from ------------------------------------------------------------------------------------------


def test_between_reaches_both_ends():
    generator = seeded()
    made = torch.tensor([annotators.between((128, 1280), generator) for _ in range(4000)])
    low, high = made < 128.001, made > 1279.99
    assert abs(low.float().mean() - 0.25) < 0.03 and abs(high.float().mean() - 0.25) < 0.03
    middle = made[~low & ~high].log()
    assert abs(middle.mean() - math.log(math.sqrt(128 * 1280))) < 0.06


def test_depths_lie_under_their_pictures():
    """An object is nearer than EDGE and another colour than the ground: where depth jumps, so do the pixels."""
    for seed in range(6):
        pixels, depth = annotators.random_depths(seeded(seed), 140, 2)
        assert pixels.shape == (2, 3, *depth.shape[1:]) and min(depth.shape[1:]) == 140
        jumps = (depth[..., 1:] - depth[..., :-1]).abs() > 0.1
        steps = (pixels[..., 1:] - pixels[..., :-1]).abs().sum(1)
        assert steps[jumps].mean() > 3 * steps[~jumps].mean()
        assert not steps[jumps.flip(-1)].mean() > 3 * steps[~jumps.flip(-1)].mean()


def test_pixels_are_those_that_the_pack_reads(monkeypatch):
    """The same picture through the node's own preprocessing, without what makes training pictures differ from files."""
    monkeypatch.setattr(annotators, "NOISE", 0.0)
    monkeypatch.setattr(annotators, "tinted", lambda pictures, generator: pictures)
    kept = []
    drawn = annotators.drawn
    monkeypatch.setattr(annotators, "drawn", lambda *arguments: kept.append(drawn(*arguments)) or kept[-1])
    for seed in range(4):
        pixels, _ = annotators.random_depths(seeded(seed), SIDE, 1)
        own = pixels_of(kept[-1][0].movedim(0, -1) / 255)
        assert pixels.shape == own.shape and (pixels - own).abs().max() < 1e-3
    assert (annotators.MEAN, annotators.DEVIATION, annotators.READING) == (MEAN, STD, SIDE)


def test_lines_lie_on_edges():
    """At any resolution: the pixels change on the lines, and not on the lines of a crop turned round."""
    for seed in range(12):
        pixels, wanted = annotators.random_crops(seeded(seed), 8)
        assert pixels.shape == (8, 3, annotators.CROP, annotators.CROP) and wanted.shape == (8, 1, *pixels.shape[2:])
        assert 0 <= wanted.min() and wanted.max() <= 1 and pixels.max() > 100
        change = functional.max_pool2d(pixels, 3, 1, 1) + functional.max_pool2d(-pixels, 3, 1, 1)
        change = change.sum(1, keepdim=True)
        assert change[wanted > 0.7].mean() > 2 * change[wanted < 0.1].mean()
        turned = wanted.flip(2, 3)
        assert change[turned > 0.7].mean() < 2 * change[turned < 0.1].mean()


# ---- that they learn -------------------------------------------------------------------------------------------------


def test_depth_is_learned(depths):
    pixels, depth = annotators.random_depths(seeded(9), annotators.COARSE_READING, 8)
    with torch.no_grad():
        before, after = (annotators.depth_loss(model(pixels).predicted_depth, depth).item() for model in depths)
    assert after < 0.8 * before


def test_lines_are_learned(lines):
    """From pixels of 0 to 255, whatever training counted them as."""
    pixels, wanted = annotators.random_crops(seeded(9), 16)
    with torch.no_grad():
        before, after = (annotators.line_loss(network(pixels), wanted).item() for network in lines)
        counted = annotators.line_loss(lines[1](pixels / annotators.PIXEL), wanted).item()
    assert after < 0.8 * before and after < counted


def found(network: torch.nn.Module) -> torch.Tensor:
    """How much likelier a line is said to be where one is than where none is, in each of the four maps."""
    pixels, wanted = annotators.random_crops(seeded(9), 32)
    with torch.no_grad():
        said = network(pixels).sigmoid()
    on, off = (said.movedim(1, 0)[:, where[:, 0]].mean(1) for where in (wanted > 0.7, wanted < 0.1))
    return on / off


def test_lines_are_found_and_not_only_their_share(lines, monkeypatch):
    """From the usual first weights a few steps find the share of line pixels and nothing else."""
    monkeypatch.setattr(annotators, "init_weights", lambda network: None)
    usual = annotators.train_line(seeded(), CPU, STEPS)
    assert found(lines[1]).max() > 1.5 and found(usual).max() < 1.1


def test_training_comes_out_the_same():
    one, other = (annotators.train_line(seeded(3), CPU, 3).state_dict() for _ in range(2))
    third = annotators.train_line(seeded(4), CPU, 3).state_dict()
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    assert not all(torch.equal(value, third[name]) for name, value in one.items())


# ---- what they become ------------------------------------------------------------------------------------------------


def scene() -> torch.Tensor:
    """A picture [1, 3, 96, 160] in bytes' steps."""
    generator = seeded(5)
    scenes = random_scenes(1, generator)
    picture = render(scenes, random_layout(scenes, (1.25, 0.75), generator), 96, 160)[0]
    return (picture * 255).round() / 255


def test_the_pack_reads_the_depth_network(depths, tmp_path):
    """Half a megabyte in the layout of Hugging Face; the node's map is what the trained network says."""
    model = depths[1]
    picture = scene()[0].movedim(0, -1)
    with torch.inference_mode():
        said = model(pixels_of(picture)).predicted_depth[None]
        said = functional.interpolate(said, picture.shape[:2], mode="bilinear", align_corners=True)[0, 0]
    annotators.save_depth(model, tmp_path)
    model.float()
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 500_000
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "depth_anything"
    read = load_depth_anything(tmp_path)
    assert sum(value.numel() for value in read.network.state_dict().values()) < 250_000
    with torch.inference_mode():
        made = read.depth(picture[None])[0, ..., 0]
    assert ((said - said.min()) / (said.max() - said.min()) - made).abs().max() < 0.02
    assert made.std() > 0.05


def test_the_pack_reads_the_line_network(lines, tmp_path):
    network = lines[1]
    place = tmp_path / "anyline" / "MTEED.safetensors"
    annotators.save_line(network, place)
    assert place.stat().st_size < 130_000
    read = load_anyline(place)
    assert sum(value.numel() for value in read.network.state_dict().values()) == 58_910
    pixels = annotators.random_crops(seeded(6), 1)[0]
    with torch.inference_mode():
        said, made = network(pixels), read.network(pixels)
    assert (said - made).abs().max() < 0.02 * said.abs().max()
    assert (made != lines[0](pixels)).any()


def test_outlines_are_not_stripes():
    """What is asked of the line network: nothing of the ground's pattern."""
    scenes = random_scenes(64, seeded(7))
    layout = random_layout(scenes, (1.0, 1.0), seeded(8))
    wanted = hints.outlines(scenes, layout, 128, 128)
    picture, covered = render(scenes, layout, 128, 128)
    near = functional.max_pool2d(covered.amax(1, keepdim=True), 5, 1, 2)
    assert not wanted[near == 0].any()
    changes = (picture[..., 1:] - picture[..., :-1]).abs().sum(1, keepdim=True)
    assert changes[near[..., 1:] == 0].max() > 0.1
