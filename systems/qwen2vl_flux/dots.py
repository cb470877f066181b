"""Dots over an image, as people and programs write them. Standard library only: the command line reads them too."""

from __future__ import annotations

from dataclasses import dataclass

from ..common.errors import InputError
from ..common.json_fields import check_count, kind, read_list

EXAMPLE = '[{"x": 0.3, "y": 0.5, "r": 0.4, "w": 1}]'
MAX_DOTS = 10_000
MAX_RADIUS = 10.0
RANGES = {"x": (0.0, 1.0), "y": (0.0, 1.0), "r": (0.0, MAX_RADIUS), "w": (-1.0, 1.0)}


@dataclass(frozen=True)
class Dot:
    """A circle of attention. x, y: centre, 0..1 of the picture's width and height (top left is 0, 0);
    r: radius as a fraction of the shorter side of the token grid, above 0; w: 0..1 keeps, below 0 suppresses."""

    x: float
    y: float
    r: float = 0.5
    w: float = 1.0


def parse_dots(text: str) -> tuple[Dot, ...]:
    """Dots from JSON text such as ``[{"x": 0.3, "y": 0.5, "r": 0.4, "w": 1}]``; blank text is no dot.

    r defaults to 0.5, w to 1. Raises InputError with one sentence for anything else.
    """
    entries = read_list(text, "dots", EXAMPLE)
    check_count(entries, "dots", MAX_DOTS)
    return tuple(_dot(number, entry) for number, entry in enumerate(entries, start=1))


def _dot(number: int, entry: object) -> Dot:
    if not isinstance(entry, dict):
        raise InputError(f"Dot {number} is a JSON {kind(entry)}, not an object; write dots like {EXAMPLE}.")
    unknown = [key for key in entry if key not in RANGES]
    if unknown:
        raise InputError(f"Dot {number} has an unknown entry {unknown[0][:40]!r}; a dot knows x, y, r and w only.")
    for key in ("x", "y"):
        if key not in entry:
            raise InputError(f"Dot {number} has no {key}; a dot needs x and y from 0 to 1, like {EXAMPLE}.")
    return Dot(**{key: _number(number, key, value) for key, value in entry.items()})


def _number(number: int, key: str, value: object) -> float:
    if not isinstance(value, float):
        raise InputError(f"{key} of dot {number} is a JSON {kind(value)}, not a number; write dots like {EXAMPLE}.")
    low, high = RANGES[key]
    if not low <= value <= high or (key == "r" and value == 0):
        span = f"above {low:g}, at most {high:g}" if key == "r" else f"from {low:g} to {high:g}"
        raise InputError(f"{key} of dot {number} is {value}; it must be {span}.")
    return value
