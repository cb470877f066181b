"""The thumbnails' recipes against the bundled workflows, and the square on which their tiles lie."""

from __future__ import annotations

import itertools

import pytest
from bundled import FOLDER, GRAPHS, canonical
from PIL import Image

from client.qwen2vl_flux.graph import Prompt, node
from lab.thumbnails.mosaic import FOUR, HALF, SIDE, SIX, mosaic
from lab.thumbnails.recipes import RECIPES

# The inputs that a thumbnail sets to pictures of demo/, and to weights of its own.
NAMES = {
    "LoadImage": "image",
    "LoadImageMask": "image",
    "Qwen2VLFluxControlNetLoader": "controlnet",
    "Qwen2VLFluxDepthAnythingV2Loader": "file",
    "Qwen2VLFluxAnyLineLoader": "file",
}
MASK = node("LoadImageMask", image=None, channel="red")


def unnamed(prompt: Prompt) -> Prompt:
    """A graph without these names."""
    graph = {}
    for node_id, entry in prompt.items():
        blank = {name: None for name in entry["inputs"] if name == NAMES.get(entry["class_type"])}
        graph[node_id] = node(entry["class_type"], **{**entry["inputs"], **blank})
    return graph


def without_sam2(prompt: Prompt) -> Prompt:
    """A graph with a mask where the node SAM 2 Segment gives one."""
    return {
        node_id: MASK if entry["class_type"] == "Qwen2VLFluxSAM2Segment" else entry
        for node_id, entry in prompt.items()
        if node_id not in ("sam2", "segment_save")
    }


def test_every_workflow_has_a_recipe() -> None:
    assert set(RECIPES) == {path.stem for path in FOLDER.glob("*.json")}


@pytest.mark.parametrize("name", RECIPES)
def test_the_graph_is_the_bundled_one_but_for_names(name: str) -> None:
    """And for SAM 2; single files make the pictures of folders, as tests/server says."""
    bundled = GRAPHS["variation" if name == "variation_single_file" else name]
    assert canonical(unnamed(RECIPES[name].graph)) == canonical(unnamed(without_sam2(bundled)))


@pytest.mark.parametrize("places", [FOUR, SIX], ids=len)
def test_tiles_lie_side_by_side(places) -> None:
    boxes = [(x, y, x + side, y + side) for x, y, side in places]
    assert all(0 <= low and high <= SIDE for box in boxes for low, high in (box[::2], box[1::2]))
    for one, other in itertools.combinations(boxes, 2):
        assert any(one[axis + 2] < other[axis] or other[axis + 2] < one[axis] for axis in (0, 1))
    assert sum(side**2 for *_, side in places) > 0.96 * SIDE**2


@pytest.mark.parametrize(("inputs", "shown"), [(1, 3), (2, 2), (3, 3), (4, 2)])
def test_inputs_come_first_and_results_fill_up(inputs: int, shown: int) -> None:
    given = [("", Image.new("RGB", (128, 128), (index, 0, 0))) for index in range(inputs)]
    results = [Image.new("RGB", (128, 128), (0, 0, 100 + index)) for index in range(4)]
    sheet = mosaic(given, results)
    middles = [sheet.getpixel((x + side // 2, y + side // 2)) for x, y, side in (FOUR if inputs < 3 else SIX)]
    assert middles == [(index, 0, 0) for index in range(inputs)] + [(0, 0, 100 + index) for index in range(shown)]


@pytest.mark.parametrize("left", [True, False])
def test_a_label_gives_way_to_an_object(left: bool) -> None:
    picture = Image.new("RGB", (128, 128), "navy")
    if left:
        picture.paste("yellow", (10, 6, 60, 60))
    sheet = mosaic([("words", picture)], [picture])
    half = HALF // 2
    tops = [sheet.crop((x, 0, x + half, 60)) for x in (0, half)]
    lettered = [any(min(colour) > 200 for _, colour in top.getcolors(half * 60)) for top in tops]
    assert lettered == [not left, left]
