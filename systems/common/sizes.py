"""The sizes of images that FLUX makes."""

from __future__ import annotations

import math

from .errors import InputError

# The (width, height) in pixels of each aspect ratio that Qwen2VL-Flux publishes.
PUBLISHED_SIZES = {
    "1:1": (1024, 1024),
    "16:9": (1344, 768),
    "9:16": (768, 1344),
    "2.4:1": (1536, 640),
    "3:4": (896, 1152),
    "4:3": (1152, 896),
}

# The aspect ratio that keeps an image's own shape.
PICTURE = "picture"

PUBLISHED_SIDE = 1024
MOST_PIXELS = 1_050_000
STEP = 16
LATENT_STEP = 8


def output_size(aspect_ratio: str, side: int = PUBLISHED_SIDE) -> tuple[int, int]:
    """(width, height) for an aspect ratio, scaled so that 1:1 is side x side, in multiples of 16 pixels."""
    return tuple(max(STEP, round(edge * side / PUBLISHED_SIDE / STEP) * STEP) for edge in PUBLISHED_SIZES[aspect_ratio])


def fitted_sizes(width: int, height: int, side: int = PUBLISHED_SIDE) -> tuple[tuple[int, int], tuple[int, int]]:
    """The two (width, height) through which a picture comes to its size for FLUX: multiples of 8 within the most
    pixels (1.05 million at side 1024), then multiples of 16, as the published img2img takes them one after the other.

    Raises InputError when a side comes out below 16.
    """
    scale = min(1.0, side / PUBLISHED_SIDE * math.sqrt(MOST_PIXELS / (width * height)))
    first = tuple(int(edge * scale) // LATENT_STEP * LATENT_STEP for edge in (width, height))
    if min(first) < STEP:
        raise InputError(
            f"The image is {width}x{height} pixels and would come to {first[0]}x{first[1]}, where FLUX needs {STEP} "
            "at least; take a larger one, or one less narrow."
        )
    return first, tuple(edge // STEP * STEP for edge in first)
