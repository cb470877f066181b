"""Training states from the network's own sampling, each with a right image to go on to.

Drawn from noise that knows nothing of the image, all patches have to agree on one of two dozen layouts while hardly
anything can be seen; what a small network gets wrong there is an object that comes twice or not at all, and as that
never occurs among noisy images of scenes, it never learns to mend it. So the trained network takes half of its sampling
steps, a rollout, and the states on it are from then on paired with a right image, in the layout that the rollout comes
nearest to: learning from the states that one's own steps lead to (Ross et al. 2011, arXiv:1011.0686). The noise itself
is paired with that image too, as in the second round of rectified flow (Liu et al. 2022, arXiv:2209.03003).
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
from .tensor_files import save_tensors
from .variation import Guided, random_guidance, random_times

# The steps of the sampler, and how many of them a rollout takes.
STEPS, ROLLOUT_STEPS = 20, 10
# The number of states of each rollout that are kept.
STATES = 3
# The fraction of a batch's rows that are such states; the others are mixtures of noise and image.
ROLLOUT_FRACTION = 0.5
# The side in pixels of the squares that are compared by their means.
BLUR = 4
# The number of images that are sampled at a time.
PART = 64

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Chunk:
    """tokens [N, T, 128] half of images shown, and their weights [N, T]; noise [N, 16, h, w] half, from which the
    network began to draw them under guidance [N]; states [N, STATES, 16, h, w] half, of its rollout, at times
    [N, STATES]; latents [N, 16, h, w] half of the right image. count [N] of objects in the scene; labels
    [N, 2, patches] bytes, see pairs.Chunk."""

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
        save_tensors(path, vars(self))

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels of the images."""
        return picture_size(self.latents)

    @classmethod
    def load(cls, path: Path) -> Chunk:
        return cls(**load_file(path))


class RolloutBatches:
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
        fractions = torch.tensor([[ROLLOUT_FRACTION], [pairs.DROPPED]])
        is_rollout, is_dropped = torch.rand(2, number, generator=generator) < fractions
        latents, noise, state = (
            each.float() for each in (chunk.latents[rows], chunk.noise[rows], chunk.states[rows, which])
        )
        rollout_time, time = chunk.times[rows, which], random_times(number, generator)
        correction = (state - latents) / rollout_time[:, None, None, None]
        return Batch(
            latents=latents,
            tokens=chunk.tokens[rows].float(),
            weights=chunk.weights[rows].masked_fill(is_dropped[:, None], 0),
            extras={
                "labels": chunk.labels[rows].long(),
                "noisy": pairs.either(is_rollout, state, mixed(latents, noise, time)),
                "times": torch.where(is_rollout, rollout_time, time),
                "velocity": pairs.either(is_rollout, correction, noise - latents),
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
    """Files of chunks, each with rollouts from noise."""
    folder.mkdir(exist_ok=True)
    for number, chunk in enumerate(chunks):
        pair_rollouts(chunk, guided, autoencoder, focused, generator).save(folder / f"{number:03d}.safetensors")
        if number % 16 == 15:
            log.info("  %d of %d scenes rolled out", (number + 1) * pairs.CHUNK, len(chunks) * pairs.CHUNK)


def load_chunks(folder: Path) -> list[Chunk]:
    return [Chunk.load(path) for path in sorted(folder.glob("*.safetensors"))]


def pair_rollouts(
    chunk: pairs.Chunk, guided: Guided, autoencoder: Autoencoder, focused: float, generator: torch.Generator
) -> Chunk:
    """The scenes of a chunk, each in one of the layouts it is shown in, with a rollout from noise and the right image
    that it comes nearest to. focused: the fraction of the scenes of several objects that are under a focus, of which
    one object is to be drawn alone."""
    rows = torch.arange(len(chunk.scenes))
    shown = torch.randint(pairs.LAYOUTS, (len(rows),), generator=generator)
    weights, focus = pairs.random_focus(chunk, rows, shown, focused, generator)
    scenes = focused_scenes(chunk.scenes, focus)
    noise = torch.randn(chunk.latents[:, 0].shape, generator=generator).half()
    guidance = random_guidance(len(rows), generator)
    tokens = chunk.tokens[rows, shown]
    kept = 1 + torch.rand(len(rows), ROLLOUT_STEPS, generator=generator).argsort(1)[:, :STATES]
    parts = [
        roll_out(guided, Batch(noise[part].float(), tokens[part].float(), weights[part]), guidance[part], autoencoder)
        for part in rows.split(PART)
    ]
    states, preview = (torch.cat(each) for each in zip(*parts, strict=True))
    width, height = chunk.size
    canvas = (width / UNIT, height / UNIT)
    layout = random_layout(scenes, canvas, generator, nearest_cells(preview, scenes, canvas))
    latents, labels = in_parts(lambda *part: pairs.targets(autoencoder, *part, height, width), scenes, layout)
    return Chunk(
        tokens=tokens,
        weights=weights,
        noise=noise,
        guidance=guidance,
        states=states[rows[:, None], kept],
        times=sampler_times(width, height)[kept],
        latents=latents,
        count=chunk.scenes.count,
        labels=labels,
    )


def focused_scenes(scenes: Scenes, focus: Tensor) -> Scenes:
    """Scenes with the object of index `focus` [B] alone, whole where that is -1."""
    lone = scenes.only(focus.clamp(min=0))
    both = ((getattr(scenes, field.name), getattr(lone, field.name)) for field in fields(scenes))
    return Scenes(*(pairs.either(focus < 0, *each) for each in both))


def sampler_times(width: int, height: int) -> Tensor:
    """Times [STEPS + 1] of the sampler, from 1 down to 0."""
    return torch.from_numpy(flux_sigmas(STEPS, 1.0, width, height)).float()


@torch.no_grad()
def roll_out(guided: Guided, batch: Batch, guidance: Tensor, autoencoder: Autoencoder) -> tuple[Tensor, Tensor]:
    """The first steps of sampling from a batch's latents, which are noise: the states [B, ROLLOUT_STEPS + 1, 16, h, w]
    half, and the images [B, 3, H, W] that the last one leads to."""
    device = next(autoencoder.parameters()).device
    batch, guidance = batch.to(device), guidance.to(device)
    times = sampler_times(*picture_size(batch.latents)).tolist()
    states = [batch.latents]
    with torch.autocast(device.type, torch.bfloat16):
        for time, following in zip(times[:ROLLOUT_STEPS], times[1 : ROLLOUT_STEPS + 1], strict=True):
            velocity = guided.velocity(batch, states[-1], torch.full_like(guidance, time), guidance)
            states.append(states[-1] + (following - time) * velocity)
        preview = autoencoder.decode(states[-1] - times[ROLLOUT_STEPS] * velocity).float().clamp(0, 1)
    return torch.stack(states, dim=1).half().cpu(), preview.cpu()


def nearest_cells(pictures: Tensor, scenes: Scenes, canvas: tuple[float, float]) -> Tensor:
    """The cell of each object [B, 3] in which the scenes look most like images [B, 3, H, W].

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
