"""Held-out scenes, and the images of them that the checkpoint is shown."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image

from ..world.scenes import (
    BACKGROUNDS,
    COLOURS,
    KINDS,
    LEARNED_COUNTS,
    PATTERNS,
    STRIPED,
    UNIT,
    Layout,
    Scenes,
    random_layout,
    random_scenes,
    render,
)

# The seed of the first round, the next ones follow; the training draws from generators that are seeded by hashes.
SEED = 5
# The number of scenes that lab/demo draws for FLUX (CHUNKS, CHUNK in lab/demo/pairs.py).
TRAINED_ON = 81 * 128
# The fractions of references with one, two and three objects.
COUNTS = (0.35, 0.5, 0.15)
# The scale of references: images of 512 pixels a side, as people have them, not of the model's own size.
ENLARGED = 4


@dataclass(frozen=True, eq=False)
class References:
    """Scenes, each with a layout on one canvas."""

    scenes: Scenes
    layout: Layout

    def __len__(self) -> int:
        return len(self.scenes)

    def repeated(self, times: int) -> References:
        """All of them, so many times over."""
        chosen = torch.arange(len(self)).repeat(times)
        return References(self.scenes.at(chosen), self.layout.at(chosen))

    def laid_out_anew(self) -> References:
        """The same scenes in other layouts on the same canvas, the same ones each time."""
        generator = torch.Generator().manual_seed(SEED - 1)
        return References(self.scenes, random_layout(self.scenes, self.layout.canvas, generator))

    def renders(self, scale: float = UNIT) -> Iterator[torch.Tensor]:
        """The images [H, W, 3] in 0..1 one by one, `scale` pixels to a length of 1."""
        width, height = (round(extent * scale) for extent in self.layout.canvas)
        for index in range(len(self)):
            one = slice(index, index + 1)
            yield render(self.scenes.at(one), self.layout.at(one), height, width)[0][0].movedim(0, -1)

    def pictures(self, scale: float = ENLARGED * UNIT) -> Iterator[Image.Image]:
        """The same as files hold them."""
        return (as_picture(values) for values in self.renders(scale))


def held_out(number: int, turn: int, canvas: tuple[float, float] = (1.0, 1.0), count: int | None = None) -> References:
    """That many references, the same ones for the same `turn`; of `count` objects, or by COUNTS."""
    generator = torch.Generator().manual_seed(SEED + turn)
    scenes = random_scenes(number, generator, COUNTS)
    if count is not None:
        scenes = replace(scenes, count=torch.full_like(scenes.count, count))
    return References(scenes, random_layout(scenes, canvas, generator))


def as_picture(values: torch.Tensor) -> Image.Image:
    return Image.fromarray((values * 255).round().byte().numpy())


def as_values(picture: Image.Image) -> torch.Tensor:
    """An image as [H, W, 3] in 0..1."""
    return torch.from_numpy(np.asarray(picture.convert("RGB"), np.float32) / 255)


def share_met(scenes: Scenes, drawn: int = TRAINED_ON) -> float:
    """Expected share of the scenes, wherever their objects lie, that occur among `drawn` random ones."""
    grounds = len(BACKGROUNDS) * len(PATTERNS)
    met = []
    for count, striped in zip(scenes.count.tolist(), (scenes.striped & scenes.present).sum(1).tolist(), strict=True):
        sets = math.comb(len(KINDS), count) * math.perm(len(COLOURS), count)
        chance = LEARNED_COUNTS[count - 1] / sets / grounds * STRIPED**striped * (1 - STRIPED) ** (count - striped)
        met.append(1 - (1 - chance) ** drawn)
    return sum(met) / len(met)
