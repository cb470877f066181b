"""The thumbnails' recipes out of the catalogue, and the square on which their tiles lie."""

from __future__ import annotations

import itertools

import pytest
from PIL import Image

from client.catalogue import WORKFLOWS
from client.workflow import EXAMPLE
from lab.thumbnails.mosaic import FOUR, HALF, SIDE, SIX, mosaic
from lab.thumbnails.recipes import RECIPES

# The nodes that show something, without which no other has a use.
ENDS = {"SaveImage", "PreviewImage", "MaskPreview"}
# The inputs of loaders that name files of others' weights.
FILES = ("unet_name", "clip_name1", "clip_name2", "vae_name")


@pytest.mark.parametrize("name", RECIPES)
def test_a_thumbnails_graph_is_whole(name: str) -> None:
    """Over images of its own, without SAM 2 and single files, and without nodes left over."""
    graph = RECIPES[name].graph
    links = [value for entry in graph.values() for value in entry["inputs"].values() if isinstance(value, list)]
    used = {source for source, _ in links}
    assert used <= set(graph)
    assert {graph[node_id]["class_type"] for node_id in set(graph) - used} <= ENDS
    inputs = [(input_name, value) for entry in graph.values() for input_name, value in entry["inputs"].items()]
    assert ("image", EXAMPLE) not in inputs and not {input_name for input_name, _ in inputs} & {"sam2", *FILES}


@pytest.mark.parametrize("name", RECIPES)
def test_a_thumbnails_tiles_are_those_of_the_catalogue(name: str) -> None:
    assert [tile.label for tile in RECIPES[name].tiles] == list(WORKFLOWS[name].thumbnail.tiles)


@pytest.mark.parametrize(
    ("name", "loaded"),
    [
        ("image_to_image", {"reference.png", "circle_and_square.png"}),
        ("inpaint", {"reference_painted.png"}),
        ("sam2_focus", {"triangle_and_plus.png", "triangle_and_plus_mask.png"}),
        ("variation_single_file", {"reference.png"}),
    ],
)
def test_what_a_thumbnail_loads(name: str, loaded: set[str]) -> None:
    entries = RECIPES[name].graph.values()
    assert {e["inputs"]["image"] for e in entries if e["class_type"] in ("LoadImage", "LoadImageMask")} == loaded


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
