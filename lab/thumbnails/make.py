"""The pictures of workflows/ and docs/, each written as soon as it is made."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from PIL import Image

from client.comfy_client import ComfyError
from client.server import ServerFailed, leave_on_terminate

from .inputs import write_inputs
from .mosaic import mosaic
from .recipes import RECIPES, Recipe
from .studio import LOG, Studio, studio
from .variations import variations

JPEG = {"quality": 85, "subsampling": 0, "optimize": True}


def main() -> None:
    parser = argparse.ArgumentParser(prog="dev.py thumbnails", description=__doc__)
    parser.add_argument("--into", type=Path, required=True, metavar="DIR", help="for workflows/ and docs/")
    folder = parser.parse_args().into
    leave_on_terminate()
    print("Starting ComfyUI ...", flush=True)
    try:
        with studio() as opened:
            write_inputs(opened.inputs)
            make(opened, folder)
    except (ComfyError, ServerFailed) as error:
        print(f"\nthumbnails: {error}\n(ComfyUI's own log: {LOG})", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def make(studio: Studio, folder: Path) -> None:
    """Write every thumbnail whose weights the loaders list, and the sheet of the README."""
    missing = {name: studio.unlisted(recipe.graph) for name, recipe in RECIPES.items()}
    left_out = [name for name, weights in missing.items() if weights]
    for name, recipe in RECIPES.items():
        if name not in left_out:
            write(thumbnail(studio, recipe), folder / "workflows" / f"{name}.jpg")
    write(variations(studio), folder / "docs" / "variations.jpg")
    if left_out:
        weights = dict.fromkeys(each for some in missing.values() for each in some)
        print(f"Left as they are: {', '.join(left_out)}, since no loader lists {', '.join(weights)}.")


def thumbnail(studio: Studio, recipe: Recipe) -> Image.Image:
    """A workflow's inputs and results."""
    made = studio.make(recipe.graph)
    inputs = [(tile.label, tile.draw(made)) for tile in recipe.tiles]
    return mosaic(inputs, made.shown("save"), recipe.band)


def write(picture: Image.Image, path: Path) -> None:
    """As a JPEG file, of which the name is shown."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, **JPEG)
    print(f"  {path}", flush=True)
