"""Right ends for what the network itself begins.

Drawn from noise that knows nothing of the picture, all patches have to agree on one of two dozen layouts while hardly
anything can be seen; what a small network gets wrong there is an object that comes twice or not at all, and as that
never occurs among noisy pictures of scenes, it never learns to mend it. So the trained network draws half of its way,
and whatever it has before it on the way is from then on paired with a right picture, in the layout which what it is
about to draw comes nearest to: learning from the states that one's own steps lead to (Ross et al. 2011,
arXiv:1011.0686). The noise itself is paired with that picture too, as in the second round of rectified flow (Liu et al.
2022, arXiv:2209.03003).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import permutations
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from systems.common.schedules import flux_sigmas
from training.generators import generator_for
from training.qwen2vl_flux.batch import Batch
from training.qwen2vl_flux.flow import mixed

from ..world.scenes import MOST_OBJECTS, UNIT, Scenes, cells, even_layout, in_parts, random_layout, render
from . import pairs
from .autoencoder import Autoencoder, picture_size
from .stored import write
from .variation import Guided, random_guidance, random_times

# Steps of the sampler, and those after which the drawing is looked at.
STEPS, SIGHT = 20, 10
# How many of the SIGHT states of each drawing are kept.
STATES = 3
# Share of the batches' rows that are such states; the others are mixtures of noise and picture.
ON_THE_WAY = 0.5
# Pixels of a side of what is compared as one.
BLUR = 4
# Pictures that are drawn at a time.
PART = 64

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Chunk:
    """tokens [N, T, 128] half of pictures shown, and their weights [N, T]; noise [N, 16, h, w] half, from which the
    network began to draw them under guidance [N]; states [N, STATES, 16, h, w] half, of its way, at times [N, STATES];
    latents [N, 16, h, w] half of the right picture. count [N] of objects in the scene; labels [N, 2, patches] bytes,
    see pairs.Chunk."""

    tokens: Tensor
    weights: Tensor
    noise: Tensor
    guidance: Tensor
    states: Tensor
    times: Tensor
    latents: Tensor
    count: Tensor
    labels: Tensor

    def save(self, path: Path) -> None:
        write(path, vars(self))

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels of the pictures."""
        return picture_size(self.latents)

    @classmethod
    def load(cls, path: Path) -> Chunk:
        return cls(**load_file(path))


class Coupled:
    """Batches out of chunks that lie in memory (a Batches); copies: how often a scene of one, two and three objects
    lies in the pool."""

    def __init__(
        self, chunks: list[Chunk], size: int, seed: int, copies: tuple[int, int, int] = pairs.Mixture().copies
    ) -> None:
        self.chunks, self.size, self.seed = chunks, size, seed
        self.copies = torch.tensor(copies)

    def batch(self, step: int, part: int, rank: int) -> Batch:
        generator = generator_for(self.seed, step, part, rank, 1)  # noise never has a fifth number
        chunk = self.chunks[int(torch.randint(len(self.chunks), (), generator=generator))]
        pool = torch.arange(len(chunk.count)).repeat_interleave(self.copies[chunk.count - 1])
        rows = pool[torch.randperm(len(pool), generator=generator)[: self.size]]
        number = len(rows)
        which = torch.randint(STATES, (number,), generator=generator)
        own, nothing = torch.rand(2, number, generator=generator) < torch.tensor([[ON_THE_WAY], [pairs.DROPPED]])
        latents, noise, state = (
            each.float() for each in (chunk.latents[rows], chunk.noise[rows], chunk.states[rows, which])
        )
        own_time, time = chunk.times[rows, which], random_times(number, generator)
        back = (state - latents) / own_time[:, None, None, None]
        return Batch(
            latents=latents,
            tokens=chunk.tokens[rows].float(),
            weights=chunk.weights[rows].masked_fill(nothing[:, None], 0),
            extras={
                "labels": chunk.labels[rows].long(),
                "noisy": pairs.either(own, state, mixed(latents, noise, time)),
                "times": torch.where(own, own_time, time),
                "velocity": pairs.either(own, back, noise - latents),
                "guidance": chunk.guidance[rows],
            },
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
    folder.mkdir(exist_ok=True)
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
    scenes = seen_through(chunk.scenes, focus)
    noise = torch.randn(chunk.latents[:, 0].shape, generator=generator).half()
    guidance = random_guidance(len(rows), generator)
    tokens = chunk.tokens[rows, shown]
    kept = 1 + torch.rand(len(rows), SIGHT, generator=generator).argsort(1)[:, :STATES]
    ways = [
        begun(guided, Batch(noise[part].float(), tokens[part].float(), weights[part]), guidance[part], autoencoder)
        for part in rows.split(PART)
    ]
    way, sight = (torch.cat(each) for each in zip(*ways, strict=True))
    width, height = chunk.size
    canvas = (width / UNIT, height / UNIT)
    layout = random_layout(scenes, canvas, generator, nearest(sight, scenes, canvas))
    latents, labels = in_parts(lambda *part: pairs.targets(autoencoder, *part, height, width), scenes, layout)
    return Chunk(
        tokens=tokens,
        weights=weights,
        noise=noise,
        guidance=guidance,
        states=way[rows[:, None], kept],
        times=sampler_times(width, height)[kept],
        latents=latents,
        count=chunk.scenes.count,
        labels=labels,
    )


def seen_through(scenes: Scenes, focus: Tensor) -> Scenes:
    """Scenes with the object of index `focus` [B] alone, whole where that is -1."""
    lone = scenes.only(focus.clamp(min=0))
    both = ((getattr(scenes, field.name), getattr(lone, field.name)) for field in fields(scenes))
    return Scenes(*(pairs.either(focus < 0, *each) for each in both))


def sampler_times(width: int, height: int) -> Tensor:
    """Times [STEPS + 1] of the sampler, from 1 down to 0."""
    return torch.from_numpy(flux_sigmas(STEPS, 1.0, width, height)).float()


@torch.no_grad()
def begun(guided: Guided, batch: Batch, guidance: Tensor, autoencoder: Autoencoder) -> tuple[Tensor, Tensor]:
    """How the network begins to draw from a batch's latents, which are noise: its states [B, SIGHT + 1, 16, h, w] half,
    and what it is about to draw, as pictures [B, 3, H, W]."""
    device = next(autoencoder.parameters()).device
    batch, guidance = batch.to(device), guidance.to(device)
    times = sampler_times(*picture_size(batch.latents)).tolist()
    way = [batch.latents]
    with torch.autocast(device.type, torch.bfloat16):
        for time, following in zip(times[:SIGHT], times[1 : SIGHT + 1], strict=True):
            velocity = guided.velocity(batch, way[-1], torch.full_like(guidance, time), guidance)
            way.append(way[-1] + (following - time) * velocity)
        sight = autoencoder.decode(way[-1] - times[SIGHT] * velocity).float().clamp(0, 1)
    return torch.stack(way, dim=1).half().cpu(), sight.cpu()


def nearest(pictures: Tensor, scenes: Scenes, canvas: tuple[float, float]) -> Tensor:
    """The cell of each object [B, 3] in which the scenes look most like pictures [B, 3, H, W].

    No two objects meet, so that the squared error of a layout is that of the bare ground and what each object changes
    where it stands; the ground's is the same for all.
    """
    blurred = functional.avg_pool2d(pictures, BLUR)
    height, width = blurred.shape[-2:]
    number, (columns, rows) = len(scenes), cells(canvas)
    costs = torch.zeros(number, MOST_OBJECTS, columns * rows)
    for each in range(MOST_OBJECTS):
        single = scenes.only(torch.full((number,), each))
        for cell in range(columns * rows):
            layout = even_layout(torch.full((number, MOST_OBJECTS), cell), canvas)
            (drawn,) = in_parts(lambda *part: render(*part, height, width)[:1], single, layout)
            costs[:, each, cell] = (drawn - blurred).square().mean((1, 2, 3))
    costs.masked_fill_(~scenes.present[..., None], 0)
    orders = torch.tensor(list(permutations(range(columns * rows), MOST_OBJECTS)))
    every = costs[:, torch.arange(MOST_OBJECTS), orders].sum(-1)
    return orders[every.argmin(1)]
