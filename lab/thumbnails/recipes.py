"""How each workflow's thumbnail is made: its graph over pictures of demo/, and what is shown beside its results.

The graphs are the bundled ones but for the names of pictures and of weights, and for a mask in place of SAM 2, which
has no small checkpoint; a test says so. Even seed and batch are those of the files in workflows/, so that a thumbnail
shows what a first run gives.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from client.qwen2vl_flux.graph import (
    ALPHA_MASK,
    Hint,
    Prompt,
    SamTarget,
    controlnet,
    focus_over_time,
    image_to_image,
    inpaint,
    node,
    two_references,
    variation,
)
from systems.annotators.sam2.points import Point

from .tiles import Circle, Tile, focused, given, painted, pointed, shown

FIRST_RUN = {"batch_size": 4, "seed": 4}

REFERENCE = "reference.png"
# What keeps one object of the reference, with the wide circles of a focus that fades.
CIRCLE, SQUARE = (0.28, 0.68, 0.5), (0.72, 0.32, 0.5)
# What keeps the reference's circle, or the plus of square_and_plus, with narrow ones of a focus that drops tokens.
SMALL_CIRCLE, SMALL_PLUS = (0.28, 0.68, 0.3), (0.72, 0.32, 0.3)
WORDS = "flat shapes on a blue ground"

UNION = "demo/controlnet"
HINTS = (Hint("depth", "demo/depth-anything-v2/scenes", 0.2), Hint("line", "demo/anyline/MTEED.safetensors", 0.4))
MAPS = (shown("depth", "depth_save"), shown("lines", "line_save"))

# Names of painted pictures: which one, and what the brush has covered, as in ComfyUI's mask editor.
BRUSHED: dict[str, tuple[str, Circle]] = {
    "reference_painted.png": (REFERENCE, (0.28, 0.68, 0.25)),
    "square_and_plus_painted.png": ("square_and_plus.png", (0.73, 0.3, 0.25)),
}

# Names of masks that SAM 2 would find, for which there is no small checkpoint: in which picture, pointed at where.
OUTLINED = {
    "triangle_and_plus_mask.png": ("triangle_and_plus.png", Point(0.73, 0.72)),
    "circle_and_square_mask.png": ("circle_and_square.png", Point(0.73, 0.72)),
}
# What `masked_by` takes out of a graph again, so that its file and points do not matter.
SOUGHT = SamTarget(model="")


@dataclass(frozen=True)
class Recipe:
    """The graph that runs, the tiles that lie before its results, and words on a band across all."""

    graph: Prompt
    tiles: tuple[Tile, ...]
    band: str = ""


def dots(circle: Circle) -> str:
    """One dot that keeps, as GridDot Focus reads it."""
    return json.dumps([dict(zip("xyrw", (*circle, 1), strict=True))])


def masked_by(mask: str, graph: Prompt) -> Prompt:
    """The graph with a mask in place of the nodes with which SAM 2 would find it."""
    rest = {node_id: entry for node_id, entry in graph.items() if node_id not in ("sam2", "segment_save")}
    return rest | {"segment": node("LoadImageMask", image=mask, channel="red")}


# By the name of the workflow.
RECIPES = {
    "variation": Recipe(variation(REFERENCE, **FIRST_RUN), (given("reference", REFERENCE),)),
    "variation_with_prompt": Recipe(
        variation(REFERENCE, prompt=WORDS, **FIRST_RUN), (given(f'reference and the words\n"{WORDS}"', REFERENCE),)
    ),
    "variation_with_focus": Recipe(
        variation(REFERENCE, dots=dots(CIRCLE), **FIRST_RUN), (focused("reference, focused", REFERENCE, CIRCLE),)
    ),
    "focus_over_time": Recipe(
        focus_over_time(REFERENCE, dots=dots(CIRCLE), late=dots(SQUARE), **FIRST_RUN),
        (
            focused("focus at first", REFERENCE, CIRCLE),
            focused("focus later", REFERENCE, SQUARE, "focus_late_save"),
        ),
    ),
    "two_references": Recipe(
        two_references(
            REFERENCE,
            "square_and_plus.png",
            dots=dots(SMALL_CIRCLE),
            other_dots=dots(SMALL_PLUS),
            focus_mode="drop",
            **FIRST_RUN,
        ),
        (
            focused("reference, focused", REFERENCE, SMALL_CIRCLE),
            focused("another, focused", "square_and_plus.png", SMALL_PLUS, "focus_2_save"),
        ),
    ),
    # single files hold the same weights, of which the small checkpoint has folders: a test says the pictures are equal
    "variation_single_file": Recipe(
        variation(REFERENCE, **FIRST_RUN), (given("reference", REFERENCE),), band="your own FLUX files"
    ),
    "image_to_image": Recipe(
        image_to_image(REFERENCE, reference="circle_and_square.png", **FIRST_RUN),
        (given("picture", REFERENCE), given("reference", "circle_and_square.png")),
    ),
    "inpaint": Recipe(
        inpaint("reference_painted.png", ALPHA_MASK, **FIRST_RUN), (painted("mask", "reference_painted.png"),)
    ),
    "sam2_focus": Recipe(
        masked_by("triangle_and_plus_mask.png", variation("triangle_and_plus.png", focus_on=SOUGHT, **FIRST_RUN)),
        (pointed("object", *OUTLINED["triangle_and_plus_mask.png"], "triangle_and_plus_mask.png"),),
    ),
    "sam2_inpaint": Recipe(
        masked_by("circle_and_square_mask.png", inpaint("circle_and_square.png", SOUGHT, **FIRST_RUN)),
        (pointed("object", *OUTLINED["circle_and_square_mask.png"], "circle_and_square_mask.png"),),
    ),
    "controlnet": Recipe(
        controlnet("circle_and_square.png", HINTS, control_net=UNION, reference=REFERENCE, **FIRST_RUN),
        (given("reference", REFERENCE), given("picture", "circle_and_square.png"), *MAPS),
    ),
    "controlnet_published": Recipe(
        controlnet("plus_and_circle.png", HINTS, control_net=UNION, as_published=True, **FIRST_RUN),
        (given("picture", "plus_and_circle.png"), *MAPS),
    ),
    "controlnet_inpaint": Recipe(
        controlnet("square_and_plus_painted.png", HINTS, control_net=UNION, mask=ALPHA_MASK, **FIRST_RUN),
        (painted("mask", "square_and_plus_painted.png"), *MAPS),
    ),
}
