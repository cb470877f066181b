"""Noise that suits what is to be drawn from it.

The pictures to draw have the same things in cells of any order, so noise may be put in another order of cells too: the
one in which it is nearest to the latents (equivariant flow matching, Klein et al. 2023, arXiv:2306.15030). As all
orders of a picture are equally likely, the noise stays normal; but what it becomes is decided sooner, and the network
has fewer layouts to average over.
"""

from __future__ import annotations

from itertools import permutations

import torch
from einops import rearrange
from torch import Tensor

from .autoencoder import REDUCTION
from .scenes import UNIT, cells

COUPLED = 0.75
"""Share of pictures whose noise is put in order. The others keep the network able to draw into given pictures, where
the noise knows nothing of what is there."""


def coupled(noise: Tensor, latents: Tensor, generator: torch.Generator) -> Tensor:
    """The noise of a share of pictures put in order; noise, latents [B, 16, h, w]."""
    chosen = torch.rand(len(latents), generator=generator) < COUPLED
    return torch.where(chosen.to(noise.device)[:, None, None, None], in_order(noise, latents), noise)


def in_order(noise: Tensor, latents: Tensor) -> Tensor:
    """The noise with its cells in the order that is nearest to the latents; as it is, where cells of pictures of this
    size are no whole numbers of latents."""
    height, width = latents.shape[-2:]
    columns, rows = cells((width * REDUCTION / UNIT, height * REDUCTION / UNIT))
    if height % rows or width % columns:
        return noise
    grid = {"rows": rows, "columns": columns}
    noises, targets = (
        rearrange(each, "b c (rows h) (columns w) -> b (rows columns) (c h w)", **grid) for each in (noise, latents)
    )
    orders = torch.tensor(list(permutations(range(rows * columns))), device=noise.device)
    alike = targets @ noises.mT
    best = orders[alike[:, torch.arange(rows * columns), orders].sum(-1).argmax(1)]
    return rearrange(
        noises.take_along_dim(best[:, :, None], dim=1),
        "b (rows columns) (c h w) -> b c (rows h) (columns w)",
        **grid,
        h=height // rows,
        w=width // columns,
    )
