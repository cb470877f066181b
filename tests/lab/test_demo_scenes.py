"""The world of the embedded checkpoint: what is drawn is what the scene says, whole and apart, at every size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lab.benchmark.held_out import TRAINED_ON
from lab.demo import pairs
from lab.world import hints
from lab.world.pictures import PICTURES, drawn
from lab.world.references import FACTOR, PIXELS, SHARES, SIZES, Source, render_for_encoder
from lab.world.scenes import (
    BACKGROUNDS,
    COLOURS,
    COUNTS,
    KINDS,
    UNIT,
    Scenes,
    coverage,
    in_parts,
    random_layout,
    random_scenes,
    render,
)
from systems.common.sizes import PUBLISHED_SIZES, output_size
from systems.qwen2vl_flux.preprocess import encoder_size
from training.qwen2vl_flux.samples import as_picture

DEMO = Path(__file__).resolve().parents[2] / "demo"


def scenes_of(number: int = 64, seed: int = 0) -> tuple[Scenes, torch.Generator]:
    generator = torch.Generator().manual_seed(seed)
    return random_scenes(number, generator), generator


def test_scenes_are_made_as_told():
    scenes, _ = scenes_of(6000)
    shares = torch.bincount(scenes.count, minlength=4)[1:] / len(scenes)
    assert torch.allclose(shares, torch.tensor(COUNTS), atol=0.02)
    for values, number in ((scenes.kind, len(KINDS)), (scenes.colour, len(COLOURS))):
        ordered = values.sort(1).values
        assert (ordered[:, 1:] > ordered[:, :-1]).all()  # no two alike in a scene
        assert set(values.unique().tolist()) == set(range(number))


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_objects_are_whole_and_apart(size):
    width, height = size
    scenes, generator = scenes_of()
    covered, _ = coverage(scenes, random_layout(scenes, (width / UNIT, height / UNIT), generator), height, width)
    assert covered.sum(1).max() <= 1
    assert covered[..., [0, -1], :].max() == covered[..., [0, -1]].max() == 0
    assert (covered.flatten(2).sum(2)[scenes.present] > 400).all()
    assert (covered[~scenes.present] == 0).all()


def test_colours_are_those_of_the_scene():
    scenes, generator = scenes_of()
    layout = random_layout(scenes, (1.0, 1.0), generator)
    drawn, _ = render(scenes, layout, UNIT, UNIT)
    palette = torch.tensor(list(COLOURS.values())) / 255
    for index in range(len(scenes)):
        if scenes.striped[index, 0] or not scenes.present[index, 0]:
            continue
        x, y = (layout.centre[index, 0] * UNIT).long()
        assert torch.allclose(drawn[index, :, y, x], palette[scenes.colour[index, 0]], atol=1e-6)
    plain = scenes.pattern == 0
    grounds = torch.tensor(list(BACKGROUNDS.values())) / 255
    assert torch.allclose(drawn[plain][:, :, 0, 0], grounds[scenes.background[plain]], atol=1e-6)


def test_one_object_alone_is_that_object():
    scenes, generator = scenes_of()
    several = scenes.at(scenes.count > 1)
    second = several.only(torch.ones(len(several), dtype=torch.long))
    assert (second.count == 1).all()
    assert torch.equal(second.kind[:, 0], several.kind[:, 1])
    assert torch.equal(second.colour[:, 0], several.colour[:, 1])
    assert torch.equal(second.striped[:, 0], several.striped[:, 1])
    assert torch.equal(second.background, several.background)


def test_a_layout_scales():
    """A scene at three times the size, made small again, is the scene: nothing depends on the pixels it is drawn at."""
    scenes, generator = scenes_of(8)
    layout = random_layout(scenes, (1.25, 0.75), generator)
    large, small = (render(scenes, layout, 96 * times, 160 * times)[0] for times in (3, 1))
    assert (torch.nn.functional.avg_pool2d(large, 3) - small).abs().mean() < 0.01


def test_parts_are_the_whole():
    scenes, generator = scenes_of(40)
    layout = random_layout(scenes, (1.0, 1.0), generator)

    def drawn(scenes, layout):
        return render(scenes, layout, 64, 64)

    for part, whole in zip(in_parts(drawn, scenes, layout), drawn(scenes, layout), strict=True):
        assert torch.equal(part, whole)


def test_held_out_scenes_are_compared_with_as_many_as_were_learned():
    assert TRAINED_ON == sum(pairs.CHUNKS.values()) * pairs.CHUNK


def test_description():
    scene = Scenes(*(torch.tensor(each) for each in ([2], [[0, 3, 1]], [[2, 5, 0]], [[False, True, False]], [4], [2])))
    assert scene.describe(0) == "a yellow circle and a striped blue plus on navy with dots"


def test_sizes_are_those_the_nodes_make():
    assert sum(SHARES) == pytest.approx(1) and len(SHARES) == len(SIZES)
    made = {output_size(ratio, UNIT) for ratio in PUBLISHED_SIZES}
    assert made == set(pairs.CHUNKS) and made <= set(SIZES)


@pytest.mark.parametrize("large", (False, True))
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_the_encoder_sees_the_grid_that_the_node_gives(size, large):
    source = Source(*size, large)
    scale = 4 if large else 1
    height, width = encoder_size(size[1] * scale, size[0] * scale, FACTOR, PIXELS)
    scenes, generator = scenes_of(2)
    shown, covered = render_for_encoder(scenes, random_layout(scenes, source.canvas, generator), source)
    assert shown.shape[-2:] == covered.shape[-2:] == (height, width)
    assert 20 <= source.grid[0] * source.grid[1] <= 50


def test_hints_show_the_objects():
    scenes, generator = scenes_of(16)
    layout = random_layout(scenes, (1.0, 1.0), generator)
    covered = coverage(scenes, layout, UNIT, UNIT)[0].amax(1, keepdim=True)
    depth, lines = hints.depth(scenes, layout, UNIT, UNIT), hints.outlines(scenes, layout, UNIT, UNIT)
    assert depth[covered == 1].min() > depth[covered == 0].max() + 0.2
    inside = -torch.nn.functional.max_pool2d(-covered, 7, 1, 3)
    outside = torch.nn.functional.max_pool2d(covered, 7, 1, 3)
    assert lines[inside == 1].max() == lines[outside == 0].max() == 0
    assert lines[(covered > 0.4) & (covered < 0.6)].min() > 0.4


@pytest.mark.parametrize("name", PICTURES)
def test_the_pictures_of_demo_are_those_that_are_drawn(name):
    """demo/ holds what the code of its training makes, pixel for pixel."""
    with Image.open(DEMO / f"{name}.png") as stored:
        made = as_picture(drawn(PICTURES[name]))
        assert stored.size == made.size and np.array_equal(np.asarray(stored), np.asarray(made))
