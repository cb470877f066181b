"""The pictures that the thumbnails' graphs load."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from client.catalogue import WORKFLOWS
from lab.thumbnails.inputs import outlined, write_inputs
from lab.thumbnails.recipes import RECIPES, painted_name
from lab.world.pictures import PICTURES, as_picture, drawn
from systems.annotators.sam2.points import Point

THUMBNAILS = [workflow.thumbnail for workflow in WORKFLOWS.values()]
POINTS = [(name, Point(*each.point)) for each in THUMBNAILS if each.point for name in each.images.values()]
BRUSHES = [(name, each.brush) for each in THUMBNAILS if each.brush for name in each.images.values()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    write_inputs(folder)
    return folder


def test_every_picture_of_a_graph_is_there(folder: Path) -> None:
    entries = [entry for recipe in RECIPES.values() for entry in recipe.graph.values()]
    names = {entry["inputs"]["image"] for entry in entries if entry["class_type"] in ("LoadImage", "LoadImageMask")}
    assert len(names) > 5 and names <= {path.name for path in folder.iterdir()}


@pytest.mark.parametrize(("picture", "point"), POINTS)
def test_a_mask_is_the_object_pointed_at(picture: str, point: Point) -> None:
    """On it the scene has the colour at the point, around it another."""
    scene = PICTURES[f"scenes/{Path(picture).stem}"]
    mask = np.asarray(outlined(scene, point)) > 0
    colours = np.asarray(as_picture(drawn(scene)), dtype=int)
    height, width = mask.shape
    at_point = colours[round(point.y * height), round(point.x * width)]
    alike = np.abs(colours - at_point).max(-1) < 60
    assert (alike & mask).sum() > 0.9 * (alike | mask).sum() and 0.05 < mask.mean() < 0.25


@pytest.mark.parametrize(("picture", "circle"), BRUSHES)
def test_the_brush_keeps_the_colours(folder: Path, picture: str, circle: tuple[float, float, float]) -> None:
    x, y, radius = circle
    painted = Image.open(folder / painted_name(picture))
    alpha = np.asarray(painted.getchannel("A"))
    assert painted.convert("RGB").tobytes() == Image.open(folder / picture).convert("RGB").tobytes()
    assert alpha[round(y * alpha.shape[0]), round(x * alpha.shape[1])] == 0
    assert (alpha == 0).mean() == pytest.approx(np.pi * radius**2, rel=0.03) and set(np.unique(alpha)) == {0, 255}
