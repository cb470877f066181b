"""The files in workflows/, as they appear in the template browser."""

from __future__ import annotations

import itertools
import json

import pytest
from bundled import FOLDER
from pack import NODES
from PIL import Image

from client.catalogue import WORKFLOWS

FILES = sorted(FOLDER.glob("*.json"))
# The pixels of a node's title, which lies above its position.
TITLE = 30
each_file = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)

Box = tuple[float, float, float, float]  # left, top, right, bottom


def test_every_node_of_the_pack_is_in_a_workflow() -> None:
    used = {node["type"] for file in FILES for node in json.loads(file.read_text("utf-8"))["nodes"]}
    assert NODES.keys() <= used


def test_every_workflow_of_the_catalogue_has_its_files_and_nothing_else_is_there() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {name + end for name in WORKFLOWS for end in (".json", ".jpg")}


@each_file
def test_thumbnail_is_a_small_square_jpeg(file) -> None:
    path = file.with_suffix(".jpg")
    with Image.open(path) as picture:
        assert picture.format == "JPEG" and picture.width == picture.height >= 400
    assert path.stat().st_size < 100_000


@each_file
def test_layout(file) -> None:
    """Nothing lies on anything else, groups hold their nodes, and links between nodes run from left to right."""
    workflow = json.loads(file.read_text("utf-8"))
    nodes = {node["id"]: box(*node["pos"], *node["size"], title=TITLE) for node in workflow["nodes"]}
    groups = [box(*group["bounding"]) for group in workflow["groups"]]
    notes = {node["id"] for node in workflow["nodes"] if node["type"] == "MarkdownNote"}
    assert len(notes) == 1
    areas = [*groups, *(nodes[note] for note in notes)]
    for boxes in (nodes.values(), areas):
        assert not [pair for pair in itertools.combinations(boxes, 2) if overlap(*pair)]
    for node_id in nodes.keys() - notes:
        assert any(holds(group, nodes[node_id]) for group in groups), node_id
    backward = [link for link in workflow["links"] if nodes[link[1]][0] > nodes[link[3]][0]]
    assert not backward


@each_file
def test_the_note_tells_of_shapes_and_of_turbo(file) -> None:
    """And names the nodes as they are titled there."""
    nodes = json.loads(file.read_text("utf-8"))["nodes"]
    (text,) = (node["widgets_values"][0] for node in nodes if node["type"] == "MarkdownNote")
    types = {node["type"] for node in nodes}
    shapes = "Prepare Image* crops to" if "Qwen2VLFluxPrepareImage" in types else "Qwen2VL-Flux Size*:"
    loader = "Load Diffusion Model" if "UNETLoader" in types else "Load FLUX Model"
    assert f"*aspect_ratio* in *{shapes} one of six shapes." in text
    assert f"Turbo: *weight_dtype* fp8_e4m3fn in *{loader}*." in text


@each_file
def test_a_second_run_gives_other_pictures(file) -> None:
    (noise,) = (n for n in json.loads(file.read_text("utf-8"))["nodes"] if n["type"] == "RandomNoise")
    assert noise["widgets_values"] == [4, "randomize"]


def box(x: float, y: float, width: float, height: float, title: float = 0) -> Box:
    return x, y - title, x + width, y + height


def overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def holds(outer: Box, inner: Box) -> bool:
    return outer[0] <= inner[0] and outer[1] <= inner[1] and outer[2] >= inner[2] and outer[3] >= inner[3]
