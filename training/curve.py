"""The training curve, drawn from log.jsonl."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from .progress import read_log

SIZE, MARGIN = (960, 480), (72, 24, 24, 48)
GRID, INK, RAW, SMOOTH = "#dddddd", "#333333", "#b9cdea", "#1f5fbf"
TICKS = 6


def draw_curve(log: Path, target: Path, figure: str = "loss") -> None:
    """A PNG of a figure over the steps: every line of the log in pale, their running mean over a twentieth of the run
    in dark. Nothing is drawn before there are two lines."""
    lines = [line for line in read_log(log) if figure in line]
    if len(lines) < 2:
        return
    steps, values = [line["step"] for line in lines], [line[figure] for line in lines]
    left, top, right, bottom = MARGIN[0], MARGIN[1], SIZE[0] - MARGIN[2], SIZE[1] - MARGIN[3]
    low, high = min(values), max(values)
    low, high = (low, high) if low < high else (low - 0.5, high + 0.5)
    ticks = _ticks(low, high)
    low, high = min(low, ticks[0]), max(high, ticks[-1])

    def place(step: float, value: float) -> tuple[float, float]:
        x = left + (right - left) * step / steps[-1]
        return x, bottom - (bottom - top) * (value - low) / (high - low)

    sheet = Image.new("RGB", SIZE, "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for value in ticks:
        y = place(0, value)[1]
        draw.line((left, y, right, y), GRID)
        draw.text((left - 8, y), f"{value:g}", INK, font, anchor="rm")
    for step in [tick for tick in _ticks(0, steps[-1]) if tick <= steps[-1]]:
        x = place(step, low)[0]
        draw.line((x, top, x, bottom), GRID)
        draw.text((x, bottom + 8), f"{step:,.0f}", INK, font, anchor="mt")
    draw.text((left, 4), figure, INK, font)
    draw.text((right, SIZE[1] - 4), "steps", INK, font, anchor="rb")
    draw.line([place(*point) for point in zip(steps, values, strict=True)], RAW)
    draw.line([place(*point) for point in zip(steps, _running(values), strict=True)], SMOOTH, 2)
    sheet.save(target)


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers over a range, at most TICKS and a few."""
    step = 10.0 ** math.floor(math.log10((high - low) / TICKS))
    step *= next(factor for factor in (1, 2, 5, 10) if (high - low) / (step * factor) <= TICKS)
    first = math.floor(low / step)
    return [number * step for number in range(first, math.ceil(high / step) + 1)]


def _running(values: Sequence[float]) -> list[float]:
    """Means over windows that end at each value."""
    width = max(1, len(values) // 20)
    return [sum(values[max(0, end - width) : end]) / min(width, end) for end in range(1, len(values) + 1)]
