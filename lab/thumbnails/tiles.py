"""What a thumbnail shows before its results: images that were given, with what was done to them, and maps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageOps

from client.sheet import focus_overlay
from client.workflow import Circle
from systems.annotators.sam2.overlay import overlay
from systems.annotators.sam2.points import Point

from ..image_server import FinishedPrompt

# The share of white in an image where it is painted.
VEIL = 0.6


@dataclass(frozen=True)
class Tile:
    """A labelled image, drawn once its prompt has run."""

    label: str
    draw: Callable[[FinishedPrompt], Image.Image]


def given(label: str, name: str) -> Tile:
    """An image as it was given."""
    return Tile(label, lambda made: made.given(name))


def shown(label: str, node: str) -> Tile:
    """The map that a node shows."""
    return Tile(label, lambda made: made.shown(node)[0])


def focused(label: str, name: str, circle: Circle, node: str = "focus_save") -> Tile:
    """An image under its focus map, with the circle of the dot that made it."""
    return Tile(label, lambda made: focus_overlay(made.given(name), made.shown(node)[0], circle))


def painted(label: str, name: str) -> Tile:
    """An image with a veil where it is painted."""
    return Tile(label, lambda made: veiled(made.given(name)))


def pointed(label: str, name: str, point: Point, mask: str) -> Tile:
    """An image as the node SAM 2 Segment shows it, with the mask of the object at a point."""
    return Tile(label, lambda made: tinted(made.given(name), made.given(mask), point))


def veiled(picture: Image.Image) -> Image.Image:
    """An image, whiter where it is transparent."""
    plain = picture.convert("RGB")
    white = Image.blend(plain, Image.new("RGB", plain.size, "white"), VEIL)
    return Image.composite(white, plain, ImageOps.invert(picture.getchannel("A")))


def tinted(picture: Image.Image, mask: Image.Image, point: Point) -> Image.Image:
    """An image with its mask and point drawn in."""
    colours, covered = (torch.from_numpy(np.array(each)) / 255 for each in (picture.convert("RGB"), mask.convert("L")))
    return Image.fromarray((overlay(colours, covered, [point], []) * 255).round().byte().numpy())
