"""Points and boxes that say which object of a picture is meant."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ...common.errors import InputError
from ...common.json_fields import check_count, kind, read_list

COORDINATES = ("fraction", "pixels")
POINTS_EXAMPLE = '[{"x": 0.3, "y": 0.5, "label": 1}]'
BOX_EXAMPLE = "[0.1, 0.2, 0.6, 0.9]"
POINTS_IN_PIXELS = '[{"x": 154, "y": 256, "label": 1}]'
BOX_IN_PIXELS = "[51, 102, 307, 461]"
MOST_POINTS = 1000
MOST_BOXES = 64
CORNERS = ("x0", "y0", "x1", "y1")
# The entries of a box as ComfyUI's own nodes have it, in pixels.
SIDES = ("x", "y", "width", "height")


@dataclass(frozen=True)
class Point:
    """x, y: 0..1 of the picture's width and height, or pixels (top left is 0, 0); label: 1 on the object, 0 beside."""

    x: float
    y: float
    label: int = 1


@dataclass(frozen=True)
class Box:
    """Around one object; x0 < x1 and y0 < y1, each 0..1 of the picture's width and height, or pixels."""

    x0: float
    y0: float
    x1: float
    y1: float

    def holds(self, point: Point) -> bool:
        """Whether the point lies inside or on the edge."""
        return self.x0 <= point.x <= self.x1 and self.y0 <= point.y <= self.y1


@dataclass(frozen=True)
class Prompt:
    """What points at one object: a box, points, or both."""

    points: tuple[Point, ...]
    box: Box | None = None


def check_coordinates(coordinates: str) -> None:
    """Raise InputError for what is not one of COORDINATES."""
    if coordinates not in COORDINATES:
        raise InputError(f"There are no coordinates {str(coordinates)[:40]!a}; choose {' or '.join(COORDINATES)}.")


def parse_points(text: str, coordinates: str = "fraction") -> tuple[Point, ...]:
    """Points, in the coordinates they are written in, from JSON text such as ``[{"x": 0.3, "y": 0.5, "label": 1}]``;
    blank text is no point.

    The label defaults to 1. Raises InputError with one sentence for anything else.
    """
    check_coordinates(coordinates)
    example = POINTS_IN_PIXELS if coordinates == "pixels" else POINTS_EXAMPLE
    entries = read_list(text, "points", example)
    check_count(entries, "points", MOST_POINTS)
    return tuple(_point(number, entry, coordinates, example) for number, entry in enumerate(entries, start=1))


def parse_boxes(text: str, coordinates: str = "fraction") -> tuple[Box, ...]:
    """Boxes, in the coordinates they are written in, from JSON text: one as ``[0.1, 0.2, 0.6, 0.9]`` (left, top, right,
    bottom), or a list of such; blank text is no box. In pixels also a list of boxes as ComfyUI's own nodes have them,
    objects of x, y, width and height. Raises InputError with one sentence for anything else."""
    check_coordinates(coordinates)
    example = BOX_IN_PIXELS if coordinates == "pixels" else BOX_EXAMPLE
    entries = read_list(text, "boxes", example)
    if entries and not any(isinstance(entry, list | dict) for entry in entries):
        entries = [entries]
    check_count(entries, "boxes", MOST_BOXES)
    return tuple(_box(number, entry, coordinates, example) for number, entry in enumerate(entries, start=1))


def in_fractions(
    points: Sequence[Point], boxes: Sequence[Box], height: int, width: int
) -> tuple[tuple[Point, ...], tuple[Box, ...]]:
    """Points and boxes in pixels of a picture as fractions of it. Raises InputError for what lies outside of it."""
    farthest = [(f"Point {number}", point.x, point.y) for number, point in enumerate(points, start=1)]
    farthest += [(f"Box {number}", box.x1, box.y1) for number, box in enumerate(boxes, start=1)]
    for name, x, y in farthest:
        if x > width or y > height:
            raise InputError(
                f"{name} reaches to {x:g}, {y:g}, outside of the image of {width} x {height} pixels; move it inside, "
                "or connect the image that it was made for."
            )
    return (
        tuple(Point(point.x / width, point.y / height, point.label) for point in points),
        tuple(Box(box.x0 / width, box.y0 / height, box.x1 / width, box.y1 / height) for box in boxes),
    )


def check_prompts(points: Sequence[Point], boxes: Sequence[Box]) -> None:
    """Raise InputError when nothing says what to keep."""
    if boxes or any(point.label for point in points):
        return
    if points:
        raise InputError("All points have label 0 (leave out) and there is no box; add a point with label 1 or a box.")
    raise InputError(
        f"There are neither points nor a box; give points like {POINTS_EXAMPLE} or a box like {BOX_EXAMPLE}."
    )


def prompts_of(points: Sequence[Point], boxes: Sequence[Box]) -> tuple[Prompt, ...]:
    """One prompt for each box, or one of all points where there is no box.

    A single box takes all points, as in Meta's predictor. Of several, each takes the points that lie in it, and a
    point in none of them goes to all.
    """
    check_prompts(points, boxes)
    if not boxes:
        return (Prompt(tuple(points)),)
    strays = {point for point in points if not any(box.holds(point) for box in boxes)}
    return tuple(Prompt(tuple(point for point in points if box.holds(point) or point in strays), box) for box in boxes)


def _point(number: int, entry: object, coordinates: str, example: str) -> Point:
    like = f"write points like {example}"
    if not isinstance(entry, dict):
        raise InputError(f"Point {number} is a JSON {kind(entry)}, not an object; {like}.")
    unknown = [key for key in entry if key not in ("x", "y", "label")]
    if unknown:
        raise InputError(f"Point {number} has an unknown entry {unknown[0][:40]!a}; a point knows x, y and label only.")
    for key in ("x", "y"):
        if key not in entry:
            raise InputError(f"Point {number} has no {key}; a point needs x and y, like {example}.")
    x, y = (_place(f"{key} of point {number}", entry[key], coordinates, like) for key in ("x", "y"))
    label = entry.get("label", 1.0)
    if not isinstance(label, float) or label not in (0, 1):
        met = label if isinstance(label, float) else f"a JSON {kind(label)}"
        raise InputError(f"label of point {number} is {met}; it must be 1 (keep) or 0 (leave out).")
    return Point(x, y, int(label))


def _box(number: int, entry: object, coordinates: str, example: str) -> Box:
    like = f"write a box as [left, top, right, bottom] like {example}"
    if isinstance(entry, dict) and coordinates == "pixels":
        entry = _corners(number, entry)
    if not isinstance(entry, list):
        raise InputError(f"Box {number} is a JSON {kind(entry)}, not a list; {like}.")
    if len(entry) != len(CORNERS):
        raise InputError(f"Box {number} has {len(entry)} values, not 4; {like}.")
    corners = zip(CORNERS, entry, strict=True)
    box = Box(*(_place(f"{name} of box {number}", value, coordinates, like) for name, value in corners))
    if box.x0 >= box.x1 or box.y0 >= box.y1:
        raise InputError(f"Box {number} has no area, {entry}; left must be below right and top below bottom.")
    return box


def _corners(number: int, box: dict) -> list[float]:
    """Left, top, right, bottom of a box as ComfyUI's own nodes have it; their labels and scores are left alone."""
    like = "write a box as [left, top, right, bottom], or as an object of x, y, width and height"
    for side in SIDES:
        if not isinstance(box.get(side), float):
            raise InputError(f"Box {number} has no number {side}; {like}.")
    x, y, width, height = (box[side] for side in SIDES)
    return [x, y, x + width, y + height]


def _place(name: str, value: object, coordinates: str, like: str) -> float:
    if not isinstance(value, float):
        raise InputError(f"{name} is a JSON {kind(value)}, not a number; {like}.")
    if coordinates == "pixels":
        if not (value >= 0 and math.isfinite(value)):
            raise InputError(f"{name} is {value}; it must be 0 or more, in pixels from the image's top left.")
    elif not 0 <= value <= 1:
        raise InputError(f"{name} is {value}; it must be from 0 to 1, a fraction of the image's width or height.")
    return value
