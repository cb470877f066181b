"""A picture with its mask tinted and outlined, and with the points and boxes that asked for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from .points import Box, Point

TINT = (0.12, 0.56, 1.0)
KEEP = (0.16, 0.78, 0.35)
LEAVE_OUT = (0.93, 0.23, 0.25)
BOX = (1.0, 0.78, 0.16)
WHITE = (1.0, 1.0, 1.0)
STRENGTH = 0.45


def overlay(picture: torch.Tensor, mask: torch.Tensor, points: Sequence[Point], boxes: Sequence[Box]) -> torch.Tensor:
    """The picture [H, W, 3] in 0..1 with its mask [H, W], points and boxes, [H, W, 3] float32.

    Lines and marks grow with the picture. Points to keep are green with a plus, the others red with a minus.
    """
    height, width = mask.shape
    unit = max(min(height, width) / 256, 1.0)
    drawn = _blend(picture.float().clamp(0, 1), TINT, mask * STRENGTH)
    drawn = _blend(drawn, WHITE, _edge(mask, round(unit)))
    y = torch.arange(height, device=mask.device)[:, None] + 0.5
    x = torch.arange(width, device=mask.device)[None, :] + 0.5
    for box in boxes:
        corners = (box.x0 * width, box.y0 * height, box.x1 * width, box.y1 * height)
        for place in _around_frame(x, y, corners, unit + 1):
            away = _to_frame(x[:, place[1]], y[place[0][:, 0]], corners)
            drawn[place] = _blend(drawn[place], BOX, _covered(unit - away))
    for point in points:
        reach = int(7 * unit) + 1  # only where the mark lies
        left, top = int(point.x * width), int(point.y * height)
        rows, columns = slice(max(top - reach, 0), top + reach), slice(max(left - reach, 0), left + reach)
        dx, dy = (x[:, columns] - point.x * width).abs(), (y[rows] - point.y * height).abs()
        drawn[rows, columns] = _marked(drawn[rows, columns], dx, dy, unit, bool(point.label))
    return drawn


def _marked(part: torch.Tensor, dx: torch.Tensor, dy: torch.Tensor, unit: float, keep: bool) -> torch.Tensor:
    distance = (dx**2 + dy**2).sqrt()
    part = _blend(part, WHITE, _covered(5.5 * unit - distance))
    part = _blend(part, KEEP if keep else LEAVE_OUT, _covered(4.4 * unit - distance))
    bar = _bar(dx, dy, unit)
    return _blend(part, WHITE, torch.maximum(bar, _bar(dy, dx, unit)) if keep else bar)


def _blend(picture: torch.Tensor, colour: tuple[float, float, float], share: torch.Tensor) -> torch.Tensor:
    return picture + (torch.tensor(colour, device=picture.device) - picture) * share[..., None]


def _covered(depth: torch.Tensor) -> torch.Tensor:
    """How much of each pixel a shape covers whose edge lies `depth` pixels away, positive inside."""
    return (depth + 0.5).clamp(0, 1)


def _bar(along: torch.Tensor, across: torch.Tensor, unit: float) -> torch.Tensor:
    return _covered(2.4 * unit - along) * _covered(0.6 * unit - across)


def _around_frame(
    x: torch.Tensor, y: torch.Tensor, corners: tuple[float, float, float, float], reach: float
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Indices (rows [N, 1], columns [M]) of the pixels within `reach` of the lines of a rectangle, each pixel once:
    a frame of little of a picture costs little."""
    x0, y0, x1, y1 = corners
    across = torch.minimum((y - y0).abs(), (y - y1).abs())[:, 0] <= reach
    down = torch.minimum((x - x0).abs(), (x - x1).abs())[0] <= reach
    beside_x = (x[0] >= x0 - reach) & (x[0] <= x1 + reach)
    beside_y = (y[:, 0] >= y0 - reach) & (y[:, 0] <= y1 + reach)
    yield across.nonzero(), beside_x.nonzero()[:, 0]
    yield (beside_y & ~across).nonzero(), down.nonzero()[:, 0]


def _to_frame(x: torch.Tensor, y: torch.Tensor, corners: tuple[float, float, float, float]) -> torch.Tensor:
    """Distance of each pixel to the outline of a rectangle."""
    x0, y0, x1, y1 = corners
    outside_x, outside_y = torch.maximum(x0 - x, x - x1), torch.maximum(y0 - y, y - y1)
    inside = torch.maximum(outside_x, outside_y).clamp(max=0)
    return inside.abs() + (outside_x.clamp(min=0) ** 2 + outside_y.clamp(min=0) ** 2).sqrt()


def _edge(mask: torch.Tensor, width: int) -> torch.Tensor:
    """The pixels of a mask within `width` of what lies beside it; the picture's own border is no edge."""
    from scipy.ndimage import maximum_filter

    # by rows, then by columns, each in a time that does not depend on the width
    beside = maximum_filter(1 - mask.cpu().numpy(), 2 * width + 1, mode="constant")
    return mask * torch.from_numpy(beside).to(mask.device)
