"""How each workflow's thumbnail is made, from what the catalogue states: the graph that runs, and the tiles before its
results.

Even seed and batch are those of the files in workflows/, so that a thumbnail shows what a first run gives.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from client.catalogue import WORKFLOWS
from client.prompt import Prompt, node
from client.workflow import Thumbnail, Workflow
from systems.annotators.sam2.points import Point
from systems.qwen2vl_flux.dots import parse_dots

from .tiles import Tile, focused, given, painted, pointed, shown


@dataclass(frozen=True)
class Recipe:
    """The graph that runs, the tiles that lie before its results, and words on a band across all."""

    graph: Prompt
    tiles: tuple[Tile, ...]
    band: str = ""


def painted_name(image: str) -> str:
    """The file of an image that has been painted on."""
    return f"{Path(image).stem}_painted.png"


def mask_name(image: str) -> str:
    """The file of the mask that SAM 2 would find in an image."""
    return f"{Path(image).stem}_mask.png"


def recipe(workflow: Workflow) -> Recipe:
    """A workflow's recipe."""
    tiles = (_tile(label, node_id, workflow) for label, node_id in workflow.thumbnail.tiles.items())
    return Recipe(graph_of(workflow), tuple(tiles), workflow.thumbnail.band)


def graph_of(workflow: Workflow) -> Prompt:
    """A workflow's graph over the images of its thumbnail, with a mask where SAM 2 would find one."""
    thumbnail = workflow.thumbnail
    graph = dict(thumbnail.graph or workflow.graph)
    for node_id, image in thumbnail.images.items():
        graph[node_id] = node("LoadImage", image=painted_name(image) if thumbnail.brush else image)
    if thumbnail.point:
        del graph["sam2"], graph["segment_save"]
        (image,) = thumbnail.images.values()
        graph["segment"] = node("LoadImageMask", image=mask_name(image), channel="red")
    return graph


def _tile(label: str, node_id: str, workflow: Workflow) -> Tile:
    """What a node of the workflow takes or makes."""
    thumbnail: Thumbnail = workflow.thumbnail
    class_type, inputs = workflow.graph[node_id]["class_type"], workflow.graph[node_id]["inputs"]
    image = thumbnail.images.get(_loader(workflow.graph, node_id), "")
    if class_type == "LoadImage":
        return painted(label, painted_name(image)) if thumbnail.brush else given(label, image)
    if class_type == "GridDotFocus":
        (dot,) = parse_dots(inputs["dots"])
        return focused(label, image, (dot.x, dot.y, dot.r), f"{node_id}_save")
    if class_type == "Qwen2VLFluxSAM2Segment":
        return pointed(label, image, Point(*thumbnail.point), mask_name(image))
    return shown(label, f"{node_id}_save")


def _loader(graph: Prompt, node_id: str) -> str:
    """The node that loads the image of which another makes something."""
    while graph[node_id]["class_type"] != "LoadImage":
        inputs = graph[node_id]["inputs"]
        node_id, _ = inputs["image"] if "image" in inputs else inputs["tokens"]
    return node_id


# By the name of the workflow.
RECIPES = {name: recipe(workflow) for name, workflow in WORKFLOWS.items()}
