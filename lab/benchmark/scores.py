"""How images compare with the scenes they should show."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..world.scenes import BACKGROUNDS, COLOURS, KINDS, MOST_OBJECTS, PATTERNS, Scenes, cells
from .judge import Verdict


@dataclass(frozen=True)
class Content:
    """What a scene holds. striped: by (kind, colour) of each object."""

    background: int
    pattern: int
    striped: dict[tuple[int, int], bool]


def contents(scenes: Scenes) -> list[Content]:
    """The scenes as plain numbers."""
    rows = zip(
        scenes.background.tolist(),
        scenes.pattern.tolist(),
        scenes.count.tolist(),
        scenes.kind.tolist(),
        scenes.colour.tolist(),
        scenes.striped.tolist(),
        strict=True,
    )
    return [
        Content(background, pattern, dict(list(zip(zip(kind, colour, strict=True), striped, strict=True))[:count]))
        for background, pattern, count, kind, colour, striped in rows
    ]


@dataclass(frozen=True)
class Match:
    """A verdict beside the content it should have. wanted, drawn, found: numbers of objects; found: those of the right
    kind and colour, each counted once; striped: those of them that are striped or solid as they should be."""

    background: bool
    pattern: bool
    palette: bool
    exact: bool
    wanted: int
    drawn: int
    found: int
    striped: int


def matches(verdicts: Sequence[Verdict], wanted: Sequence[Content]) -> list[Match]:
    """Each verdict beside the content of its own reference."""
    return [match(*pair) for pair in zip(verdicts, wanted, strict=True)]


def match(verdict: Verdict, content: Content) -> Match:
    drawn = [(thing.kind, thing.colour) for thing in verdict.things]
    found = {
        (thing.kind, thing.colour): thing.striped
        for thing in reversed(verdict.things)
        if (thing.kind, thing.colour) in content.striped
    }
    return Match(
        background=verdict.background == content.background,
        pattern=verdict.pattern == content.pattern,
        palette=sorted(colour for _, colour in drawn) == sorted(colour for _, colour in content.striped),
        exact=len(drawn) == len(found) == len(content.striped),
        wanted=len(content.striped),
        drawn=len(drawn),
        found=len(found),
        striped=sum(content.striped[each] == striped for each, striped in found.items()),
    )


def difference(verdict: Verdict, content: Content) -> str:
    """In words what an image lacks and has too much, such as `no pink square, also blue blob`; blank when nothing."""

    def named(things: Counter) -> list[str]:
        return [
            f"{tuple(COLOURS)[colour]} {'blob' if kind is None else KINDS[kind]}" for kind, colour in things.elements()
        ]

    wanted, drawn = Counter(content.striped.keys()), Counter((thing.kind, thing.colour) for thing in verdict.things)
    remarks = [f"no {name}" for name in named(wanted - drawn)] + [f"also {name}" for name in named(drawn - wanted)]
    if (verdict.background, verdict.pattern) != (content.background, content.pattern):
        remarks.append(f"on {tuple(BACKGROUNDS)[verdict.background]}, {PATTERNS[verdict.pattern]}")
    return ", ".join(remarks)


def shares(compared: Sequence[Match]) -> dict[str, float | None]:
    """Shares 0..1 of what is right, None of nothing. recall: of the objects wanted, precision: of those drawn, stripes:
    of those found; the rest of the images."""

    def of_pictures(right: Sequence[bool]) -> float | None:
        return _ratio(sum(right), len(right))

    wanted, drawn, found = (sum(getattr(each, name) for each in compared) for name in ("wanted", "drawn", "found"))
    exact = {
        f"exact of {count}": of_pictures([each.exact for each in compared if each.wanted == count])
        for count in range(1, MOST_OBJECTS + 1)
    }
    return {
        "background": of_pictures([each.background for each in compared]),
        "pattern": of_pictures([each.pattern for each in compared]),
        "palette": of_pictures([each.palette for each in compared]),
        "recall": _ratio(found, wanted),
        "precision": _ratio(found, drawn),
        "stripes": _ratio(sum(each.striped for each in compared), found),
        "count": of_pictures([each.drawn == each.wanted for each in compared]),
        "exact": of_pictures([each.exact for each in compared]),
        **exact,
    }


def shuffled(verdicts: Sequence[Verdict], wanted: Sequence[Content]) -> list[Match]:
    """Every verdict beside the content of every other one's reference: what chance gives."""
    return [
        match(verdict, content)
        for own, verdict in enumerate(verdicts)
        for other, content in enumerate(wanted)
        if own != other
    ]


def place(verdict: Verdict, wanted: tuple[int, int]) -> tuple[float, float] | None:
    """Where a verdict has an object of a kind and a colour, in pixels."""
    return next((thing.centre for thing in verdict.things if (thing.kind, thing.colour) == wanted), None)


def in_place(verdicts: Sequence[Verdict], wanted: Sequence[Content], centres: torch.Tensor, reach: float) -> float:
    """Share 0..1 of the objects wanted that are found within `reach` of their centres [B, 3, 2]; all in pixels."""
    right = total = 0
    for verdict, content, expected in zip(verdicts, wanted, centres.tolist(), strict=True):
        for each, (x, y) in zip(content.striped, expected, strict=False):
            found = place(verdict, each)
            right += found is not None and math.dist(found, (x, y)) <= reach
            total += 1
    return right / total


@dataclass(frozen=True)
class Steered:
    """An image made under a focus on one of two objects; alone: it shows that one and nothing else."""

    present: bool
    other_absent: bool
    alone: bool

    @property
    def strict(self) -> bool:
        return self.present and self.other_absent


def steered(verdict: Verdict, content: Content) -> Steered:
    """Whether the first of two objects is there, and no object has the second one's colour."""
    first, (_, other) = content.striped
    drawn = [(thing.kind, thing.colour) for thing in verdict.things]
    return Steered(
        present=first in drawn,
        other_absent=other not in {colour for _, colour in drawn},
        alone=drawn == [first],
    )


def steering(results: Sequence[Steered]) -> dict[str, float | None]:
    """Shares 0..1 of the images."""
    return {
        name: _ratio(sum(getattr(each, name) for each in results), len(results))
        for name in ("strict", "present", "other_absent", "alone")
    }


def spread(centres: torch.Tensor, canvas: tuple[float, float]) -> dict[str, float | None]:
    """How far the centres [N, seeds, 2] of objects lie apart over the seeds: mean number of different cells, and mean
    distance of two of them, in lengths of the canvas; None of nothing."""
    if not len(centres):
        return {"cells": None, "distance": None}
    columns, rows = cells(canvas)
    column, row = ((centres / torch.tensor(canvas)) * torch.tensor([columns, rows])).long().unbind(-1)
    used = [len(set(each)) for each in (row * columns + column).tolist()]
    seeds = centres.shape[1]
    distances = torch.cdist(centres, centres).sum((1, 2)) / (seeds * (seeds - 1))
    return {"cells": sum(used) / len(used), "distance": float(distances.mean())}


def _ratio(part: float, whole: int) -> float | None:
    return part / whole if whole else None
