"""Aspect buckets: the few sizes that images are cropped and scaled to, so that they can share a batch."""

from __future__ import annotations

import math

from PIL import Image, ImageOps

from systems.common.errors import InputError
from systems.common.sizes import STEP

# The width over the height of each published bucket.
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
    """The size (width, height) of the bucket whose shape is nearest to an image's."""
    shape = math.log(width / height)
    nearest = min(ASPECTS, key=lambda name: abs(math.log(ASPECTS[name]) - shape))
    return bucket_sizes(side)[nearest]


def fitted(image: Image.Image, size: Size) -> Image.Image:
    """The middle of an image, cropped to a size's shape and scaled to it."""
    return ImageOps.fit(image, size, Image.Resampling.LANCZOS)
