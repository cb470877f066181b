"""The world of the embedded checkpoint: flat scenes of coloured shapes, drawn from numbers.

A scene says what is there; a layout says where. Lengths are in units of 128 pixels of an image at its own size, so
that a layout can be drawn at any resolution.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import torch

KINDS = ("circle", "square", "triangle", "plus")
COLOURS = {
    "red": (220, 38, 38),
    "orange": (249, 146, 30),
    "yellow": (250, 220, 40),
    "green": (34, 160, 70),
    "cyan": (40, 200, 220),
    "blue": (40, 80, 220),
    "purple": (140, 50, 200),
    "pink": (245, 120, 180),
}
BACKGROUNDS = {
    "white": (245, 245, 240),
    "black": (25, 25, 30),
    "gray": (128, 128, 132),
    "sand": (222, 196, 150),
    "navy": (20, 40, 90),
    "mint": (170, 225, 190),
}
PATTERNS = ("plain", "stripes", "dots")
# The grey value of the stripes on a striped object.
STRIPE = 0.97

MOST_OBJECTS = 3
# The fractions of scenes with one, two and three objects.
COUNTS = (0.3, 0.4, 0.3)
# The same among the scenes that FLUX learns to draw: three objects are the hardest.
LEARNED_COUNTS = (0.2, 0.3, 0.5)
# The fraction of striped objects.
STRIPED = 0.25

# The pixels of a length of 1 in an image at its own size.
UNIT = 128
# The least and the most radius of an object, as fractions of the shorter side of its cell.
RADII = (0.36, 0.43)
# The most distance of an object's centre from its cell's on either axis, as a fraction of the cell's shorter side.
JITTER = 0.07
# The most rotation of an object to either side, in radians.
TURN = 0.1

# The number of scenes that are drawn at a time.
PART = 16

# The distances of a background's stripes or dots, and of an object's stripes.
PERIOD, FILL_PERIOD = 0.125, 12 / 128


@dataclass(frozen=True, eq=False)
class Scenes:
    """What is there, for B scenes: count [B] in 1..3; kind, colour [B, 3] as indices, striped [B, 3] bool, of which the
    first `count` hold; background, pattern [B] as indices. No two objects share a kind or a colour."""

    count: torch.Tensor
    kind: torch.Tensor
    colour: torch.Tensor
    striped: torch.Tensor
    background: torch.Tensor
    pattern: torch.Tensor

    def __len__(self) -> int:
        return len(self.count)

    @property
    def present(self) -> torch.Tensor:
        """[B, 3] bool, which of the three objects exist."""
        return torch.arange(MOST_OBJECTS) < self.count[:, None]

    def at(self, chosen: torch.Tensor | slice) -> Scenes:
        """Some of the scenes, by indices, mask or slice."""
        return Scenes(*(getattr(self, field.name)[chosen] for field in fields(self)))

    def only(self, kept: torch.Tensor) -> Scenes:
        """The same scenes with one object each, that of index kept [B]."""
        first = {
            name: torch.cat([getattr(self, name).gather(1, kept[:, None]), getattr(self, name)[:, 1:]], dim=1)
            for name in ("kind", "colour", "striped")
        }
        return replace(self, count=torch.ones_like(self.count), **first)

    def describe(self, index: int) -> str:
        """One scene in words, such as `a red circle and a striped blue plus on navy with dots`."""
        colours, backgrounds = tuple(COLOURS), tuple(BACKGROUNDS)
        things = [
            f"a {'striped ' if self.striped[index, each] else ''}{colours[self.colour[index, each]]} "
            f"{KINDS[self.kind[index, each]]}"
            for each in range(int(self.count[index]))
        ]
        pattern = PATTERNS[self.pattern[index]]
        ground = backgrounds[self.background[index]] + ("" if pattern == "plain" else f" with {pattern}")
        return f"{' and '.join(things)} on {ground}"


@dataclass(frozen=True, eq=False)
class Layout:
    """Where it is, for B scenes on one canvas: centre [B, 3, 2] as x and y from the top left, radius [B, 3], turn
    [B, 3] in radians; canvas is (width, height)."""

    centre: torch.Tensor
    radius: torch.Tensor
    turn: torch.Tensor
    canvas: tuple[float, float]

    def at(self, chosen: torch.Tensor | slice) -> Layout:
        """Some of the layouts, by indices, mask or slice."""
        return Layout(self.centre[chosen], self.radius[chosen], self.turn[chosen], self.canvas)


def random_scenes(number: int, generator: torch.Generator, counts: tuple[float, float, float] = COUNTS) -> Scenes:
    """That many scenes, each property drawn evenly but for STRIPED and the shares with one, two and three objects."""

    def distinct(kinds: int) -> torch.Tensor:
        return torch.rand(number, kinds, generator=generator).argsort(1)[:, :MOST_OBJECTS]

    return Scenes(
        count=1 + torch.multinomial(torch.tensor(counts), number, replacement=True, generator=generator),
        kind=distinct(len(KINDS)),
        colour=distinct(len(COLOURS)),
        striped=torch.rand(number, MOST_OBJECTS, generator=generator) < STRIPED,
        background=torch.randint(len(BACKGROUNDS), (number,), generator=generator),
        pattern=torch.randint(len(PATTERNS), (number,), generator=generator),
    )


def cells(canvas: tuple[float, float]) -> tuple[int, int]:
    """(columns, rows) of the cells in which objects stand: those nearest to squares that hold three objects."""
    width, height = canvas
    grids = [(columns, rows) for columns in range(1, 5) for rows in range(1, 5) if columns * rows >= MOST_OBJECTS]
    return max(grids, key=lambda grid: (round(min(width / grid[0], height / grid[1]), 3), grid[0] * grid[1]))


def random_layout(
    scenes: Scenes, canvas: tuple[float, float], generator: torch.Generator, cell: torch.Tensor | None = None
) -> Layout:
    """Every object in a cell of its own, a little off its centre, a little turned. cell: the index [B, 3] of each
    object's cell; None for random ones."""
    columns, rows = cells(canvas)
    if cell is None:
        cell = torch.rand(len(scenes), columns * rows, generator=generator).argsort(1)[:, :MOST_OBJECTS]
    size = cell_size(canvas)
    side = float(size.min())
    off = JITTER * side * (2 * torch.rand(*cell.shape, 2, generator=generator) - 1)
    low, high = RADII
    radius = side * (low + (high - low) * torch.rand(cell.shape, generator=generator))
    turn = TURN * (2 * torch.rand(cell.shape, generator=generator) - 1)
    return Layout(middles(cell, canvas) + off, radius, turn, canvas)


def even_layout(cell: torch.Tensor, canvas: tuple[float, float]) -> Layout:
    """Every object upright in the middle of its cell [B, 3], neither large nor small."""
    radius = torch.full(cell.shape, sum(RADII) / 2 * float(cell_size(canvas).min()))
    return Layout(middles(cell, canvas), radius, torch.zeros_like(radius), canvas)


def middles(cell: torch.Tensor, canvas: tuple[float, float]) -> torch.Tensor:
    """Centres [B, 3, 2] of cells [B, 3]."""
    columns, _ = cells(canvas)
    return (torch.stack([cell % columns, cell // columns], dim=-1) + 0.5) * cell_size(canvas)


def cell_size(canvas: tuple[float, float]) -> torch.Tensor:
    """Width and height [2] of a cell."""
    columns, rows = cells(canvas)
    return torch.tensor([canvas[0] / columns, canvas[1] / rows])


def in_parts(
    made: Callable[[Scenes, Layout], tuple[torch.Tensor, ...]], scenes: Scenes, layout: Layout
) -> tuple[torch.Tensor, ...]:
    """What a function makes of scenes and their layout, a few at a time: several times as fast as all at once, as
    images stay in the processor's cache."""
    parts = [slice(start, start + PART) for start in range(0, len(scenes), PART)]
    results = [made(scenes.at(part), layout.at(part)) for part in parts]
    return tuple(torch.cat(each) for each in zip(*results, strict=True))


def coverage(scenes: Scenes, layout: Layout, height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """How much of each pixel each object covers, [B, 3, height, width] in 0..1, and the pixels' height along the
    object's own upright axis, of the same shape."""
    scale = width / layout.canvas[0]
    x, y = ((torch.arange(pixels) + 0.5) / scale for pixels in (width, height))
    right = x - layout.centre[..., 0, None, None]
    down = y[:, None] - layout.centre[..., 1, None, None]
    cosine, sine = layout.turn.cos()[..., None, None], layout.turn.sin()[..., None, None]
    across, along = right * cosine + down * sine, down * cosine - right * sine
    radius = layout.radius[..., None, None]
    arm, thick = radius * 0.95, radius * 0.34
    outside = torch.stack(
        [
            torch.sqrt(across**2 + along**2) - radius * 0.92,
            torch.maximum(across.abs(), along.abs()) - radius * 0.8,
            torch.maximum(0.866 * across.abs() - 0.5 * along - 0.5 * radius, along - 0.55 * radius),
            torch.minimum(
                torch.maximum(across.abs() - arm, along.abs() - thick),
                torch.maximum(along.abs() - arm, across.abs() - thick),
            ),
        ],
        dim=2,
    )  # signed distance to the outline of each of KINDS
    chosen = scenes.kind[:, :, None, None, None].expand(-1, -1, 1, height, width)
    covered = (0.5 - outside.gather(2, chosen)[:, :, 0] * scale).clamp(0, 1)
    return covered * scenes.present[..., None, None], along


def render(scenes: Scenes, layout: Layout, height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Images [B, 3, height, width] in 0..1 and the coverage of their objects [B, 3, height, width]."""
    scale = width / layout.canvas[0]
    picture = _ground(scenes, height, width, scale)
    covered, along = coverage(scenes, layout, height, width)
    stripes = _stripes(along / FILL_PERIOD, FILL_PERIOD * scale, 0.22) * scenes.striped[..., None, None]
    palette = torch.tensor(list(COLOURS.values())) / 255
    for each in range(MOST_OBJECTS):
        colour = palette[scenes.colour[:, each]][:, :, None, None]
        filled = torch.lerp(colour.expand_as(picture), torch.tensor(STRIPE), stripes[:, each, None])
        picture = torch.lerp(picture, filled, covered[:, each, None])
    return picture, covered


def _ground(scenes: Scenes, height: int, width: int, scale: float) -> torch.Tensor:
    """The background alone, [B, 3, height, width]."""
    palette = torch.tensor(list(BACKGROUNDS.values())) / 255
    colour = palette[scenes.background]
    light = colour.mean(1, keepdim=True) > 0.5
    second = torch.where(light, colour * 0.82, colour * 0.72 + 0.28 * 0.62)
    x, y = ((torch.arange(pixels) + 0.5) / scale / PERIOD for pixels in (width, height))
    diagonal = 2**0.5
    stripes = _stripes((x + y[:, None]) / diagonal, PERIOD * scale * diagonal, 0.25)
    from_dot = torch.sqrt((x % 1 - 0.5) ** 2 + (y[:, None] % 1 - 0.5) ** 2)
    dots = (0.5 - (from_dot - 0.25) * PERIOD * scale).clamp(0, 1)
    drawn = torch.stack([torch.zeros_like(dots), stripes, dots])[scenes.pattern]
    return torch.lerp(colour[:, :, None, None], second[:, :, None, None], drawn[:, None])


def _stripes(phase: torch.Tensor, period: float, half: float) -> torch.Tensor:
    """Stripes of `half` a width each, antialiased; phase counts periods, period is in pixels."""
    return ((half - (phase % 1 - 0.5).abs()) * period + 0.5).clamp(0, 1)
