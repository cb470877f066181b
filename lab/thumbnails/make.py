"""The images of workflows/ and docs/, each written as soon as it is made."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from PIL import Image

from client.comfy_client import ComfyError
from client.server import ServerFailed, leave_on_terminate

from ..image_server import ImageServer, image_server
from .inputs import write_inputs
from .mosaic import mosaic
from .recipes import RECIPES, Recipe
from .variations import variations

LOG = Path(__file__).resolve().parents[2] / ".dev" / "thumbnails.log"
JPEG = {"quality": 85, "subsampling": 0, "optimize": True}


def main() -> None:
    parser = argparse.ArgumentParser(prog="dev.py thumbnails", description=__doc__)
    parser.add_argument("--into", type=Path, required=True, metavar="DIR", help="for workflows/ and docs/")
    folder = parser.parse_args().into
    leave_on_terminate()
    print("Starting ComfyUI ...", flush=True)
    try:
        with image_server(LOG) as server:
            write_inputs(server.inputs)
            make(server, folder)
    except (ComfyError, ServerFailed) as error:
        print(f"\nthumbnails: {error}\n(ComfyUI's own log: {LOG})", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def make(server: ImageServer, folder: Path) -> None:
    """Write every thumbnail whose weights the loaders list, and the sheet of docs/."""
    missing = {name: server.unlisted(recipe.graph) for name, recipe in RECIPES.items()}
    left_out = [name for name, weights in missing.items() if weights]
    for name, recipe in RECIPES.items():
        if name not in left_out:
            write(thumbnail(server, recipe), folder / "workflows" / f"{name}.jpg")
    write(variations(server), folder / "docs" / "variations.jpg")
    if left_out:
        weights = dict.fromkeys(each for some in missing.values() for each in some)
        print(f"Left as they are: {', '.join(left_out)}, since no loader lists {', '.join(weights)}.")


def thumbnail(server: ImageServer, recipe: Recipe) -> Image.Image:
    """A workflow's inputs and results."""
    made = server.run(recipe.graph)
    inputs = [(tile.label, tile.draw(made)) for tile in recipe.tiles]
    return mosaic(inputs, made.shown("save"), recipe.band)


def write(picture: Image.Image, path: Path) -> None:
    """As a JPEG file, of which the name is shown."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, **JPEG)
    print(f"  {path}", flush=True)
