"""The demo's command line. Standard library only: dev.py reads it before anything is installed."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

BUNDLED = "demo"
BUNDLED_FOLDER = Path(__file__).resolve().parent.parent / "demo"
BUNDLED_SIZE = 128
MAX_COUNT = 64
MAX_RADIUS = 10


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


def demo_options(arguments: list[str]) -> argparse.Namespace:
    """Parse and check the demo's arguments; exits with 2 and one sentence when one is wrong.

    Every path comes back absolute, `focus` as the text "x,y,r", and what was not given and has no fixed default as
    None (image, prompt, focus).
    """
    parser = _Parser(
        prog="dev.py demo",
        description="Start ComfyUI, make variations of a picture, write them and a contact sheet, stop ComfyUI.",
    )
    parser.add_argument("--image", type=_file, help="the reference picture (default: a scene of the bundled model)")
    parser.add_argument("--prompt", help="text that steers the variations")
    parser.add_argument(
        "--focus",
        type=_focus,
        metavar="X,Y,R",
        help="keep what lies around x,y (0..1), fading to nothing at the radius r (share of the shorter side)",
    )
    parser.add_argument(
        "--count", type=_whole(1, MAX_COUNT), default=4, help="how many variations (default: %(default)s)"
    )
    seed = _whole(0, 2**64 - MAX_COUNT)
    parser.add_argument("--seed", type=seed, default=0, help="of the first one (default: %(default)s)")
    parser.add_argument(
        "--size", type=_whole(64, 2048), help="pixels per side, in steps of 16 (default: 128 bundled, else 1024)"
    )
    parser.add_argument("--steps", type=_whole(1, 1000), help="sampling steps (default: 20 bundled, else 28)")
    parser.add_argument(
        "--checkpoint",
        type=_checkpoint,
        default=BUNDLED,
        metavar="NAME|FOLDER",
        help="a name from models/qwen2vl_flux or a folder in the published layout (default: the bundled one)",
    )
    parser.add_argument("--output", type=_folder, default=_folder("output"), help="default: ./output")
    options = parser.parse_args(arguments)
    bundled = options.checkpoint == BUNDLED
    options.size = options.size or (BUNDLED_SIZE if bundled else 1024)
    options.steps = options.steps or (20 if bundled else 28)
    return options


def _file(text: str) -> Path:
    path = Path(text).expanduser().absolute()
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"there is no file {text}")
    return path


def _folder(text: str) -> Path:
    path = Path(text).expanduser().absolute()
    if path.exists() and not path.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is not a folder")
    return path


def _checkpoint(text: str) -> str:
    """Plain names stay, a folder becomes its absolute path, and the bundled folder its name."""
    path = Path(os.path.abspath(Path(text).expanduser()))  # a link keeps its name, .. gets one
    if text == BUNDLED or path.resolve() == BUNDLED_FOLDER:
        return BUNDLED
    if text and path.is_dir():
        return str(path)
    if not text or Path(text).name != text:
        raise argparse.ArgumentTypeError(f"there is no folder {text}")
    return text


def _focus(text: str) -> str:
    try:
        x, y, radius = (float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"write x,y,r as three numbers such as 0.3,0.4,0.2, not {text!r}") from None
    if not (0 <= x <= 1 and 0 <= y <= 1 and 0 < radius <= MAX_RADIUS):
        raise argparse.ArgumentTypeError(f"x and y lie in 0..1, r is above 0 and at most {MAX_RADIUS}, not {text}")
    return text


def _whole(smallest: int, largest: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.isdecimal() or not smallest <= int(text) <= largest:
            raise argparse.ArgumentTypeError(f"give a whole number from {smallest} to {largest}, not {text}")
        return int(text)

    return parse
