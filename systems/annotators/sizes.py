"""The size at which an annotator reads a picture."""

from __future__ import annotations

import math

# The aspect ratio beyond which images are read smaller, so that memory stays bounded.
WIDEST = 4


def reading_size(height: int, width: int, side: int, step: int) -> tuple[int, int]:
    """(height, width) with the shorter edge at `side` and the aspect kept, each rounded to a multiple of `step`.

    Beyond 4:1, where the published code takes as much memory as the picture is long, both edges shrink to the area of
    4:1; beyond 64:1 the aspect is not kept.
    """
    scale = min(side / min(height, width), side * math.sqrt(WIDEST / (height * width)))
    edges = (max(step, round(edge * scale / step) * step) for edge in (height, width))
    return tuple(min(edge, WIDEST**2 * side // step * step) for edge in edges)
