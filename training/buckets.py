"""Aspect buckets: the few sizes that pictures are cropped and scaled to, so that they can share a batch."""

from __future__ import annotations

import math

from PIL import Image, ImageOps

from systems.common.errors import InputError
from systems.common.sizes import STEP
from systems.qwen2vl_flux.focus import Dot

# Width over height of the published buckets.
ASPECTS = {"16:9": 16 / 9, "2:1": 2.0, "2.35:1": 2.35, "1:1": 1.0, "1:2": 0.5}

PUBLISHED_SIDE = 1024
Size = tuple[int, int]


def bucket_sizes(side: int = PUBLISHED_SIDE) -> dict[str, Size]:
    """(width, height) of each bucket, the longest edge `side` or just below it, in multiples of 16 pixels."""
    longest = side // STEP * STEP
    if longest < STEP:
        raise InputError(f"The side of the buckets is {side}; it must be {STEP} at least.")
    return {
        name: tuple(max(STEP, round(min(1, share) * longest / STEP) * STEP) for share in (aspect, 1 / aspect))
        for name, aspect in ASPECTS.items()
    }


def bucket_of(width: int, height: int, side: int = PUBLISHED_SIDE) -> Size:
    """The size (width, height) of the bucket whose shape is nearest to a picture's."""
    shape = math.log(width / height)
    nearest = min(ASPECTS, key=lambda name: abs(math.log(ASPECTS[name]) - shape))
    return bucket_sizes(side)[nearest]


def fitted(picture: Image.Image, size: Size) -> Image.Image:
    """The middle of a picture, cropped to a size's shape and scaled to it."""
    return ImageOps.fit(picture, size, Image.Resampling.LANCZOS)


def fitted_dots(dots: tuple[Dot, ...], width: int, height: int, size: Size) -> tuple[Dot, ...]:
    """Dots of a picture of width x height pixels, as shares of what `fitted` leaves of it."""
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
