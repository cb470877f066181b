"""Scenes as the encoder reads them: images of many sizes, on the token grid that Qwen2-VL gives each of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from systems.qwen2vl_flux.preprocess import encoder_size

from .scenes import UNIT, Layout, Scenes, render

# The pixels of a token's side: 14×14 patches, merged 2×2.
FACTOR = 28
# The one image area, in pixels, that the small encoder is made for.
PIXELS = 36 * FACTOR**2

# (width, height) in pixels of the images that the small model is shown, at its own scale.
SIZES = (
    *((128, 128), (144, 112), (112, 144), (160, 96), (96, 160)),
    *((192, 80), (80, 192), (160, 160), (192, 96), (96, 192)),
)
# The fraction of training images that have each of SIZES.
SHARES = (0.52, 0.07, 0.07, 0.07, 0.07, 0.04, 0.04, 0.04, 0.04, 0.04)

# The scale at which a large image is drawn before it is made smaller for the encoder.
ENLARGED = 1.5


@dataclass(frozen=True)
class Source:
    """A kind of image file: its size in pixels, and whether it is one at the model's own size or a large one."""

    width: int
    height: int
    large: bool

    @property
    def canvas(self) -> tuple[float, float]:
        return self.width / UNIT, self.height / UNIT

    @property
    def grid(self) -> tuple[int, int]:
        """(rows, columns) of tokens."""
        scale = 4 if self.large else 1
        height, width = encoder_size(self.height * scale, self.width * scale, FACTOR, PIXELS)
        return height // FACTOR, width // FACTOR


def random_source(generator: torch.Generator) -> Source:
    size = SIZES[torch.multinomial(torch.tensor(SHARES), 1, generator=generator)]
    return Source(*size, large=bool(torch.rand((), generator=generator) < 0.5))


def render_for_encoder(scenes: Scenes, layout: Layout, source: Source) -> tuple[torch.Tensor, torch.Tensor]:
    """Images [B, 3, rows * 28, columns * 28] in 0..1, and the coverage of their objects [B, 3, ...] at that size."""
    scale = ENLARGED if source.large else 1
    pictures, covered = render(scenes, layout, round(source.height * scale), round(source.width * scale))
    size = tuple(tokens * FACTOR for tokens in source.grid)
    return tuple(
        torch.nn.functional.interpolate(each, size, mode="bicubic", antialias=True).clamp(0, 1)
        for each in (pictures, covered)
    )
