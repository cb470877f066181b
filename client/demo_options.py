"""The demo's command line. Standard library only: dev.py reads it before anything is installed."""

from __future__ import annotations

import argparse

from systems.common.layout import DEMO
from systems.qwen2vl_flux.dots import MAX_RADIUS

from .arguments import Parser, checkpoint, file, folder, whole
from .qwen2vl_flux.request import default_side

MAX_COUNT = 64
# The first of four seeds that keep the shapes of demo/reference.png whole, with the circle in another corner each time.
SEED = 12


def demo_options(arguments: list[str]) -> argparse.Namespace:
    """Parse and check the demo's arguments; exits with 2 and one sentence when one is wrong.

    Every path comes back absolute, `focus` as the text "x,y,r", and what was not given and has no fixed default as
    None (image, prompt, focus).
    """
    parser = Parser(
        prog="dev.py demo",
        description="Start ComfyUI, make variations of an image, write them and a contact sheet, stop ComfyUI.",
    )
    parser.add_argument("--image", type=file, help="the reference image (default: a scene of the bundled model)")
    parser.add_argument("--prompt", help="text that steers the variations")
    parser.add_argument(
        "--focus",
        type=_focus,
        metavar="X,Y,R",
        help="keep what lies around x,y (0..1), fading to nothing at the radius r (fraction of the shorter side)",
    )
    parser.add_argument(
        "--count", type=whole(1, MAX_COUNT), default=4, help="how many variations (default: %(default)s)"
    )
    seed = whole(0, 2**64 - MAX_COUNT)
    parser.add_argument("--seed", type=seed, default=SEED, help="of the first one (default: %(default)s)")
    parser.add_argument(
        "--size", type=whole(64, 2048), help="pixels per side, in steps of 16 (default: 128 bundled, else 1024)"
    )
    parser.add_argument("--steps", type=whole(1, 1000), help="sampling steps (default: 20 bundled, else 28)")
    parser.add_argument(
        "--checkpoint",
        type=checkpoint,
        metavar="NAME|FOLDER",
        help="a name from models/qwen2vl_flux or a folder in the published layout (default: the bundled one)",
    )
    parser.add_argument("--output", type=folder, default="output", help="default: ./output")
    options = parser.parse_args(arguments)
    options.checkpoint = options.checkpoint or DEMO.name  # a default would be read as a folder from here
    options.size = options.size or default_side(options.checkpoint)
    options.steps = options.steps or (20 if options.checkpoint == DEMO.name else 28)
    return options


def _focus(text: str) -> str:
    try:
        x, y, radius = (float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"write x,y,r as three numbers such as 0.3,0.4,0.2, not {text!r}") from None
    if not (0 <= x <= 1 and 0 <= y <= 1 and 0 < radius <= MAX_RADIUS):
        raise argparse.ArgumentTypeError(f"x and y lie in 0..1, r is above 0 and at most {MAX_RADIUS:g}, not {text}")
    return text
