"""A thumbnail out of a real server, and what it says of weights that are not there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from client.comfy_client import ComfyClient
from client.qwen2vl_flux.workflows import HINTS, UNION
from client.server import ComfyServer
from lab.image_server import ImageServer
from lab.thumbnails.mosaic import FOUR, SIDE, mosaic
from lab.thumbnails.recipes import RECIPES

YELLOW, CYAN = (250, 220, 40), (40, 200, 220)


@pytest.fixture
def images(server: ComfyServer, client: ComfyClient, root: Path) -> ImageServer:
    return ImageServer(client, root / "demo", client.object_info(), server.process.pid)


def share(pixels: np.ndarray, colour: tuple[int, int, int]) -> float:
    """Share of pixels within 60 of a colour."""
    return float((np.linalg.norm(pixels - np.array(colour), axis=-1) < 60).mean())


def test_a_thumbnail_shows_the_focused_reference_and_its_variations(images: ImageServer, root: Path) -> None:
    recipe = RECIPES["variation_with_focus"]
    name = images.client.upload_image(root / "demo" / "reference.png")
    graph = {
        node_id: {**entry, "inputs": {**entry["inputs"], "image": name}}
        if entry["class_type"] == "LoadImage"
        else entry
        for node_id, entry in recipe.graph.items()
    }
    made = images.run(graph)
    sheet = mosaic([(tile.label, tile.draw(made)) for tile in recipe.tiles], made.shown("save"))
    assert sheet.size == (SIDE, SIDE)
    first, *results = (np.asarray(sheet.crop((x, y, x + side, y + side)), dtype=float) for x, y, side in FOUR)
    assert share(first, YELLOW) > 0.01
    for pixels in results:
        assert share(pixels, YELLOW) > 0.05 > 0.01 > share(pixels, CYAN)


def test_weights_that_no_loader_lists_are_named(images: ImageServer) -> None:
    graph = RECIPES["controlnet"].graph
    named = [UNION, *(hint.model for hint in HINTS)]
    assert images.unlisted(graph) == [name for name in named if not (images.inputs.parent / name).exists()]
    assert images.unlisted(RECIPES["variation"].graph) == []
    loader = next(node_id for node_id, entry in graph.items() if entry["class_type"] == "Qwen2VLFluxAnyLineLoader")
    absent = graph | {loader: {**graph[loader], "inputs": {"file": "nowhere.pth"}}}
    assert "nowhere.pth" in images.unlisted(absent)
