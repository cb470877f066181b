"""The sheet in docs/: variations of the reference, and those with focus on one of its objects."""

from __future__ import annotations

from PIL import Image

from client.demo_options import demo_options
from client.qwen2vl_flux.graph import DEMO_SIDE, circle_dot, variation
from client.qwen2vl_flux.workflows import CIRCLE, SQUARE
from client.sheet import contact_sheet
from client.workflow import REFERENCE
from systems.common.layout import DEMO

from ..image_server import ImageServer
from .tiles import focused, given

OPTIONS = demo_options([])
STEPS, SEEDS = OPTIONS.steps, range(OPTIONS.seed, OPTIONS.seed + OPTIONS.count)


def variations(server: ImageServer) -> Image.Image:
    """A row for each of the three, of the images that `dev.py demo` makes, alone and with --focus."""
    rows = (
        (given("reference", REFERENCE), ""),
        (focused("focus on the circle", REFERENCE, CIRCLE), circle_dot(*CIRCLE)),
        (focused("focus on the square", REFERENCE, SQUARE), circle_dot(*SQUARE)),
    )
    left, pictures = [], []
    for tile, focus in rows:
        runs = [server.run(variation(REFERENCE, dots=focus, steps=STEPS, seed=seed)) for seed in SEEDS]
        left.append((tile.label, tile.draw(runs[0])))
        pictures += [(f"seed {seed}", made.shown("save")[0]) for seed, made in zip(SEEDS, runs, strict=True)]
    subtitle = f"Qwen2VL-Flux, checkpoint {DEMO.name}, {DEMO_SIDE} x {DEMO_SIDE}, {STEPS} steps"
    return contact_sheet("Variations", subtitle, left, pictures)
