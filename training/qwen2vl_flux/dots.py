"""Dots of an image on what a bucket leaves of it."""

from __future__ import annotations

from systems.qwen2vl_flux.dots import Dot

from ..buckets import Size


def fitted_dots(dots: tuple[Dot, ...], width: int, height: int, size: Size) -> tuple[Dot, ...]:
    """Dots of an image of width x height pixels, as fractions of what `fitted` leaves of it."""
    scale = min(width / size[0], height / size[1])
    kept = size[0] * scale, size[1] * scale
    left, top = ((edge - part) / 2 for edge, part in zip((width, height), kept, strict=True))
    return tuple(
        Dot(
            x=(dot.x * width - left) / kept[0],
            y=(dot.y * height - top) / kept[1],
            r=dot.r * min(width, height) / min(kept),
            w=dot.w,
        )
        for dot in dots
    )
