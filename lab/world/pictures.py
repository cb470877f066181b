"""The images that come with the embedded checkpoint, to start from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from training.qwen2vl_flux.samples import as_picture

from .scenes import BACKGROUNDS, COLOURS, KINDS, MOST_OBJECTS, PATTERNS, UNIT, Layout, Scenes, render


@dataclass(frozen=True)
class Thing:
    """An object: x, y of its centre and its radius in units of the scene, turn in radians."""

    colour: str
    kind: str
    x: float
    y: float
    radius: float = 0.205
    turn: float = 0.0
    striped: bool = False


@dataclass(frozen=True)
class Picture:
    """size: (width, height) in pixels at the model's own scale; enlarged: how many times as large it is drawn."""

    background: str
    pattern: str
    things: tuple[Thing, ...]
    size: tuple[int, int] = (UNIT, UNIT)
    enlarged: int = 2


PICTURES = {
    "reference": Picture(
        "navy", "dots", (Thing("yellow", "circle", 0.28, 0.68), Thing("cyan", "square", 0.72, 0.32)), enlarged=4
    ),
    "scenes/circle_and_square": Picture(
        *("black", "stripes"),
        (Thing("cyan", "circle", 0.28, 0.3, striped=True), Thing("pink", "square", 0.73, 0.72, turn=-0.04)),
    ),
    "scenes/plus_and_circle": Picture(
        "mint", "dots", (Thing("purple", "plus", 0.72, 0.7), Thing("orange", "circle", 0.27, 0.29))
    ),
    "scenes/square_and_plus": Picture(
        *("sand", "plain"),
        (Thing("green", "square", 0.27, 0.7, turn=0.04), Thing("purple", "plus", 0.73, 0.3)),
    ),
    "scenes/three_shapes": Picture(
        *("white", "plain"),
        (
            Thing("orange", "triangle", 0.25, 0.33, 0.2),
            Thing("blue", "circle", 0.75, 0.36, 0.2),
            Thing("red", "plus", 1.25, 0.36, 0.2, turn=0.03),
        ),
        size=(192, 96),
    ),
    "scenes/triangle_and_plus": Picture(
        "gray", "plain", (Thing("red", "triangle", 0.28, 0.3), Thing("purple", "plus", 0.73, 0.72))
    ),
}


def write(folder: Path) -> None:
    """All images as PNG files below a folder."""
    for name, picture in PICTURES.items():
        path = folder / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        as_picture(drawn(picture)).save(path, optimize=True)


def drawn(picture: Picture) -> torch.Tensor:
    """[3, H, W] in 0..1."""
    count, things = len(picture.things), picture.things
    things += (things[0],) * (MOST_OBJECTS - count)
    width, height = picture.size
    colours, backgrounds = list(COLOURS), list(BACKGROUNDS)
    scene = Scenes(
        count=torch.tensor([count]),
        kind=torch.tensor([[KINDS.index(thing.kind) for thing in things]]),
        colour=torch.tensor([[colours.index(thing.colour) for thing in things]]),
        striped=torch.tensor([[thing.striped for thing in things]]),
        background=torch.tensor([backgrounds.index(picture.background)]),
        pattern=torch.tensor([PATTERNS.index(picture.pattern)]),
    )
    layout = Layout(
        centre=torch.tensor([[[thing.x, thing.y] for thing in things]]),
        radius=torch.tensor([[thing.radius for thing in things]]),
        turn=torch.tensor([[thing.turn for thing in things]]),
        canvas=(width / UNIT, height / UNIT),
    )
    return render(scene, layout, height * picture.enlarged, width * picture.enlarged)[0][0]
