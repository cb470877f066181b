"""Noise and pictures that belong together, out of a network that has learned what to draw but not yet where.

Drawn from independent noise, the patches of a picture have to agree on one of eight layouts while hardly anything can
be seen, and what a small network then gets wrong is there twice or not at all. So the network draws once, and each
noise is from then on paired with a right picture in that layout which its own drawing comes nearest to: the flow
becomes nearly straight, as that of rectified flow's second round (Liu et al. 2022, arXiv:2209.03003), and a layout is
a matter of the noise.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from ...schedules import flux_sigmas
from ..batches import Batch, generator_for
from . import pairs
from .autoencoder import REDUCTION, Autoencoder
from .scenes import UNIT, Scenes, even_layout, in_parts, number_of_cells, random_layout, render, turned
from .stored import write
from .variation import Guided

SIGHT, STEPS = 10, 20
"""Steps of the sampler after which the drawing is looked at, of those that it would take."""
GUIDANCE = 3.5
BLUR = 4
"""Pixels of a side of what is compared as one."""
PART = 64
"""Pictures that are drawn at a time."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Chunk:
    """tokens [N, T, 128] half of pictures shown, and their weights [N, T]; noise and latents [N, 16, h, w] half; count
    [N] of objects to be drawn; labels [N, 2, patches] bytes, see pairs.Chunk."""

    tokens: Tensor
    weights: Tensor
    noise: Tensor
    latents: Tensor
    count: Tensor
    labels: Tensor

    def save(self, path: Path) -> None:
        write(path, vars(self))

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels of the pictures."""
        rows, columns = self.latents.shape[-2:]
        return columns * REDUCTION, rows * REDUCTION

    @classmethod
    def load(cls, path: Path) -> Chunk:
        return cls(**load_file(path))


class Coupled:
    """Batches out of chunks that lie in memory (a Batches); copies: how often a picture of one, two and three objects
    lies in the pool."""

    def __init__(self, chunks: list[Chunk], size: int, seed: int, copies: tuple[int, int, int]) -> None:
        self.chunks, self.size, self.seed = chunks, size, seed
        self.copies = torch.tensor(copies)

    def batch(self, step: int, part: int, rank: int) -> Batch:
        generator = generator_for(self.seed, step, part, rank, 1)  # noise never has a fifth number
        chunk = self.chunks[int(torch.randint(len(self.chunks), (), generator=generator))]
        pool = torch.arange(len(chunk.count)).repeat_interleave(self.copies[chunk.count - 1])
        rows = pool[torch.randperm(len(pool), generator=generator)[: self.size]]
        nothing = torch.rand(len(rows), generator=generator) < pairs.DROPPED
        return Batch(
            latents=chunk.latents[rows].float(),
            tokens=chunk.tokens[rows].float(),
            weights=chunk.weights[rows].masked_fill(nothing[:, None], 0),
            extras={"labels": chunk.labels[rows].long(), "noise": chunk.noise[rows].float()},
        )


def save_chunks(
    folder: Path,
    chunks: Sequence[pairs.Chunk],
    guided: Guided,
    autoencoder: Autoencoder,
    focused: float,
    generator: torch.Generator,
) -> None:
    """Files of chunks, each coupled with noise."""
    for number, chunk in enumerate(chunks):
        couple(chunk, guided, autoencoder, focused, generator).save(folder / f"{number:03d}.safetensors")
        if number % 16 == 15:
            log.info("  %d of %d scenes coupled", (number + 1) * pairs.CHUNK, len(chunks) * pairs.CHUNK)


def load_chunks(folder: Path) -> list[Chunk]:
    return [Chunk.load(path) for path in sorted(folder.glob("*.safetensors"))]


def couple(
    chunk: pairs.Chunk, guided: Guided, autoencoder: Autoencoder, focused: float, generator: torch.Generator
) -> Chunk:
    """The scenes of a chunk, each in one of the layouts it is shown in, coupled with noise; focused: the share of the
    scenes of several objects that are seen through a focus, of which one object is to be drawn alone."""
    rows = torch.arange(len(chunk.scenes))
    shown = torch.randint(pairs.LAYOUTS, (len(rows),), generator=generator)
    weights, focus = pairs.random_focus(chunk, rows, shown, focused, generator)
    kept = torch.where(focus < 0, 0, focus)
    lone = chunk.scenes.only(kept)
    alone = focus >= 0
    scenes = Scenes(
        **{
            name: torch.where(alone.reshape(-1, *[1] * (value.ndim - 1)), getattr(lone, name), value)
            for name, value in vars(chunk.scenes).items()
        }
    )
    place = chunk.places[rows, shown]
    first = place.gather(1, kept[:, None])
    place = torch.where(alone[:, None], torch.cat([first, place[:, 1:]], dim=1), place)

    noise = torch.randn(chunk.latents[:, 0].shape, generator=generator).half()
    tokens = chunk.tokens[rows, shown]
    sight = torch.cat(
        [
            seen_early(guided, Batch(noise[part].float(), tokens[part].float(), weights[part]), autoencoder)
            for part in rows.split(PART)
        ]
    )
    width, height = chunk.size
    canvas = (width / UNIT, height / UNIT)
    best = nearest(sight, scenes, place, canvas)
    layout = random_layout(scenes, canvas, generator, best)
    latents, labels = in_parts(lambda *part: pairs.targets(autoencoder, *part, height, width), scenes, layout)
    return Chunk(tokens, weights, noise, latents, scenes.count, labels)


@torch.no_grad()
def seen_early(guided: Guided, batch: Batch, autoencoder: Autoencoder) -> Tensor:
    """What the network is about to draw from a batch's latents, which are noise, as pictures [B, 3, H, W]."""
    width, height = (edge * REDUCTION for edge in (batch.latents.shape[-1], batch.latents.shape[-2]))
    sigmas = torch.from_numpy(flux_sigmas(STEPS, 1.0, width, height)).float().tolist()
    latents = batch.latents
    guidance = torch.full((len(latents),), GUIDANCE)
    for sigma, following in zip(sigmas[:SIGHT], sigmas[1 : SIGHT + 1], strict=True):
        with torch.autocast("cpu", torch.bfloat16):
            velocity = guided.velocity(batch, latents, torch.full((len(latents),), sigma), guidance)
        latents = latents + (following - sigma) * velocity
    with torch.autocast("cpu", torch.bfloat16):
        return autoencoder.decode(latents - sigmas[SIGHT] * velocity).float().clamp(0, 1)


def nearest(pictures: Tensor, scenes: Scenes, place: Tensor, canvas: tuple[float, float]) -> Tensor:
    """Of all turns and reflections of the places [B, 3], those [B, 3] in which the scenes look most like pictures."""
    every, fitting = turned(place, scenes.present, number_of_cells(canvas))
    blurred = functional.avg_pool2d(pictures, BLUR)
    height, width = blurred.shape[-2:]
    errors = []
    for each in every:
        (drawn,) = in_parts(lambda *part: render(*part, height, width)[:1], scenes, even_layout(each, canvas))
        errors.append((drawn - blurred).square().mean((1, 2, 3)))
    best = torch.stack(errors).masked_fill(~fitting, torch.inf).argmin(0)
    return every[best, torch.arange(len(place))]
