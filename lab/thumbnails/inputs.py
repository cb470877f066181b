"""What Load Image finds: the images of demo/, some of them painted on, and masks of some of their objects."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from PIL import Image, ImageChops, ImageDraw

from client.catalogue import WORKFLOWS
from client.workflow import Circle
from systems.annotators.sam2.points import Point

from ..world.pictures import PICTURES, Picture, as_picture, drawn
from ..world.scenes import UNIT
from .recipes import mask_name, painted_name

DEMO = Path(__file__).resolve().parents[2] / "demo"
# The difference of two images' pixels, 0..255, from which on an object covers them.
FAINT = 32


def write_inputs(folder: Path) -> None:
    """All of them as files in a folder."""
    for path in (DEMO / "reference.png", *DEMO.glob("scenes/*.png")):
        shutil.copy(path, folder)
    for workflow in WORKFLOWS.values():
        thumbnail = workflow.thumbnail
        for name in thumbnail.images.values():
            picture = Image.open(folder / name)
            if thumbnail.brush:
                brushed(picture, thumbnail.brush).save(folder / painted_name(name))
            if thumbnail.point:
                mask = outlined(PICTURES[f"scenes/{Path(name).stem}"], Point(*thumbnail.point))
                mask.resize(picture.size).save(folder / mask_name(name))


def brushed(picture: Image.Image, circle: Circle) -> Image.Image:
    """The image, transparent where it is to be drawn again."""
    x, y, radius = circle[0] * picture.width, circle[1] * picture.height, circle[2] * min(picture.size)
    kept = Image.new("L", picture.size, 255)
    ImageDraw.Draw(kept).ellipse((x - radius, y - radius, x + radius, y + radius), fill=0)
    painted = picture.convert("RGB")
    painted.putalpha(kept)
    return painted


def outlined(scene: Picture, point: Point) -> Image.Image:
    """The mask of the object of a scene that is nearest to a point: what changes where it is left out."""
    x, y = (share * pixels / UNIT for share, pixels in zip((point.x, point.y), scene.size, strict=True))
    _, *others = sorted(scene.things, key=lambda thing: (thing.x - x) ** 2 + (thing.y - y) ** 2)
    pictures = (as_picture(drawn(each)) for each in (scene, replace(scene, things=tuple(others))))
    red, green, blue = ImageChops.difference(*pictures).split()
    changed = ImageChops.lighter(ImageChops.lighter(red, green), blue)
    return changed.point(lambda value: 255 * (value > FAINT))
