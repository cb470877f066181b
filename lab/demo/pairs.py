"""Training pairs of the embedded checkpoint: the tokens of one scene, and latents of the same things laid out anew.

That the image to draw is another one than the image shown is what makes seeds lay out the same things in
different ways.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch.nn import functional

from systems.qwen2vl_flux.dots import Dot
from systems.qwen2vl_flux.focus import circle
from training.generators import generator_for
from training.qwen2vl_flux.batch import Batch
from training.qwen2vl_flux.encoder import Qwen2VLEncoder

from ..world.references import random_source, render_for_encoder
from ..world.scenes import (
    COLOURS,
    KINDS,
    LEARNED_COUNTS,
    UNIT,
    Layout,
    Scenes,
    in_parts,
    random_layout,
    random_scenes,
    render,
)
from .autoencoder import Autoencoder, picture_size
from .encoder import hidden_states
from .tensor_files import save_tensors

# The number of chunks of each size of images to draw, (width, height): the published shapes at side 128.
CHUNKS = {(128, 128): 50, (144, 112): 7, (112, 144): 6, (160, 96): 7, (96, 160): 7, (192, 80): 4}
# The number of scenes of a chunk.
CHUNK = 128
# The number of layouts of each scene, of the image shown as of the image to draw.
LAYOUTS = 2

# The fraction of the scenes of one object that are under a focus.
FOCUSED_ALONE = 0.3
# The radii of the circles over one of several objects, half of which have the usual one where it fits, and of those
# over a lone one.
RADII, LONE_RADII, USUAL_RADIUS = (0.28, 0.75), (0.3, 0.7), 0.5
# The least distance of the next object's centre, in radii; so the most weight that it keeps under a circle that is
# centred well is 0.3.
REACH = 0.7
# The deviation of a circle's centre from its object's, as a fraction of the image.
OFF_CENTRE = 0.06
# The fraction of images with no tokens to go by (all zero), for a guidance scale.
DROPPED = 0.1
# The side in pixels of what one token of FLUX draws.
PATCH = 16
# The least fraction of a patch that an object must cover to be what the patch shows.
LEAST_COVER = 0.12

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Chunk:
    """Scenes [N] that share an image size and a token grid, each with LAYOUTS of either.

    tokens: [N, L, T, 128] half, of the images shown, on `grid`; centres: [N, L, 3, 2] of their objects, as x and y
    in 0..1. latents: [N, L, 16, h, w] half, of the images to draw; alone: the same with the first or the second
    object only. labels, alone_labels: [N, L, 2, patches] bytes, the kind and the colour that each patch of these shows.
    """

    scenes: Scenes
    grid: tuple[int, int]
    tokens: torch.Tensor
    centres: torch.Tensor
    latents: torch.Tensor
    labels: torch.Tensor
    alone: torch.Tensor
    alone_labels: torch.Tensor

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels of the images to draw."""
        return picture_size(self.latents)

    def save(self, path: Path) -> None:
        tensors = {name: value for name, value in vars(self).items() if isinstance(value, torch.Tensor)}
        tensors.update({f"scenes.{name}": value for name, value in vars(self.scenes).items()})
        save_tensors(path, {**tensors, "grid": torch.tensor(self.grid)})

    @classmethod
    def load(cls, path: Path) -> Chunk:
        tensors = load_file(path)
        scenes = Scenes(**{name[7:]: tensors.pop(name) for name in tuple(tensors) if name.startswith("scenes.")})
        return cls(scenes=scenes, grid=tuple(tensors.pop("grid").tolist()), **tensors)


@dataclass(frozen=True)
class Mixture:
    """What batches are made of. copies: how often a scene of one, two and three objects lies in the pool; focused: the
    fraction of scenes of several that are under a focus, where one object is to be drawn alone."""

    copies: tuple[int, int, int] = (1, 1, 1)
    focused: float = 0.45


class Pairs:
    """Batches out of chunks that lie in memory (a Batches)."""

    def __init__(self, chunks: list[Chunk], size: int, seed: int, mixture: Mixture = Mixture()) -> None:
        self.chunks = chunks
        self.size = size
        self.seed = seed
        self.mixture = mixture

    def batch(self, step: int, part: int, rank: int) -> Batch:
        generator = generator_for(self.seed, step, part, rank, 1)  # noise never has a fifth number
        chunk = self.chunks[int(torch.randint(len(self.chunks), (), generator=generator))]
        pool = torch.arange(CHUNK).repeat_interleave(torch.tensor(self.mixture.copies)[chunk.scenes.count - 1])
        rows = pool[torch.randperm(len(pool), generator=generator)[: self.size]]
        shown, drawn = (torch.randint(LAYOUTS, (self.size,), generator=generator) for _ in range(2))
        weights, focus = random_focus(chunk, rows, shown, self.mixture.focused, generator)
        nothing = torch.rand(self.size, generator=generator) < DROPPED
        alone = focus >= 0
        object_ = focus.clamp(min=0)
        return Batch(
            latents=either(alone, chunk.alone[rows, object_], chunk.latents[rows, drawn]).float(),
            tokens=chunk.tokens[rows, shown].float(),
            weights=weights.masked_fill(nothing[:, None], 0),
            extras={"labels": either(alone, chunk.alone_labels[rows, object_], chunk.labels[rows, drawn]).long()},
        )


def random_focus(
    chunk: Chunk, rows: torch.Tensor, shown: torch.Tensor, share: float, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights [B, T] of the tokens under a random circle or none, and the index [B] of the object that is then to be
    drawn alone, -1 where all are. share: of the scenes of several objects, how many get a circle."""
    number = len(rows)
    every = torch.arange(number)
    several = chunk.scenes.count[rows] > 1
    object_ = torch.randint(2, (number,), generator=generator) * several
    chance, usual, length = torch.rand(3, number, generator=generator)
    scale = torch.tensor([chunk.grid[1], chunk.grid[0]])
    centres = chunk.centres[rows, shown]
    others = chunk.scenes.present[rows].clone()
    others[every, object_] = False
    distance = ((centres - centres[every, object_][:, None]) * scale).norm(dim=-1)
    nearest = distance.masked_fill(~others, torch.inf).amin(1) / min(chunk.grid)
    widest = (nearest / REACH).clamp(max=RADII[1])
    radius = torch.where(
        usual < 0.5, widest.clamp(max=USUAL_RADIUS), torch.lerp(torch.tensor(RADII[0]), widest, length)
    )
    radius = torch.where(several, radius, torch.lerp(*torch.tensor(LONE_RADII), length))
    focused = torch.where(several, (chance < share) & (widest > RADII[0]), chance < FOCUSED_ALONE)
    place = centres[every, object_] + OFF_CENTRE * torch.randn(number, 2, generator=generator)
    weights = torch.ones(number, chunk.tokens.shape[2])
    for index in focused.nonzero().flatten().tolist():
        dot = Dot(float(place[index, 0]), float(place[index, 1]), float(radius[index]))
        weights[index] = circle(dot, *chunk.grid).flatten()
    return weights, torch.where(focused & several, object_, -1)


# ---- making them ---------------------------------------------------------------------------------------------------


def save_chunks(folder: Path, encoder: Qwen2VLEncoder, autoencoder: Autoencoder, generator: torch.Generator) -> None:
    """Files of all CHUNKS."""
    sizes = [size for size, number in CHUNKS.items() for _ in range(number)]
    for number, size in enumerate(sizes):
        random_chunk(encoder, autoencoder, size, generator).save(folder / f"{number:03d}.safetensors")
        if number % 16 == 15:
            log.info("  %d of %d scenes drawn and encoded", (number + 1) * CHUNK, len(sizes) * CHUNK)


def load_chunks(folder: Path) -> list[Chunk]:
    return [Chunk.load(path) for path in sorted(folder.glob("*.safetensors"))]


@torch.no_grad()
def random_chunk(
    encoder: Qwen2VLEncoder, autoencoder: Autoencoder, size: tuple[int, int], generator: torch.Generator
) -> Chunk:
    """One chunk of images to draw of (width, height) pixels."""
    scenes, source = random_scenes(CHUNK, generator, LEARNED_COUNTS), random_source(generator)

    def shown(scenes: Scenes, layout: Layout) -> tuple[torch.Tensor]:
        return (tokens_of(encoder, render_for_encoder(scenes, layout, source)[0]),)

    def drawn(scenes: Scenes) -> tuple[torch.Tensor, ...]:
        width, height = size
        layout = random_layout(scenes, (width / UNIT, height / UNIT), generator)
        return in_parts(lambda *part: targets(autoencoder, *part, height, width), scenes, layout)

    layouts = [random_layout(scenes, source.canvas, generator) for _ in range(LAYOUTS)]
    tokens = [in_parts(shown, scenes, layout)[0] for layout in layouts]
    wholes = [drawn(scenes) for _ in range(LAYOUTS)]
    singles = [drawn(scenes.only((scenes.count - 1).clamp(max=each))) for each in range(2)]
    latents, labels, alone, alone_labels = (
        torch.stack(parts, dim=1) for parts in (*zip(*wholes, strict=True), *zip(*singles, strict=True))
    )
    return Chunk(
        scenes=scenes,
        grid=source.grid,
        tokens=torch.stack(tokens, dim=1),
        centres=torch.stack([layout.centre / torch.tensor(source.canvas) for layout in layouts], dim=1),
        latents=latents,
        labels=labels,
        alone=alone,
        alone_labels=alone_labels,
    )


def targets(
    autoencoder: Autoencoder, scenes: Scenes, layout: Layout, height: int, width: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Scenes at a size in pixels: their latents [N, 16, h, w] half, and the kind and the colour that each patch of two
    by two latents shows, [N, 2, patches] bytes."""
    pictures, covered = render(scenes, layout, height, width)
    share, owner = functional.adaptive_avg_pool2d(covered, (height // PATCH, width // PATCH)).flatten(2).max(1)
    bare = share < LEAST_COVER
    kind, colour = (
        values.gather(1, owner).masked_fill(bare, none)
        for values, none in ((scenes.kind, len(KINDS)), (scenes.colour, len(COLOURS)))
    )
    return latents_of(autoencoder, pictures), torch.stack([kind, colour], dim=1).byte()


def tokens_of(encoder: Qwen2VLEncoder, pictures: torch.Tensor) -> torch.Tensor:
    """Images at the encoder's size as tokens [N, T, 128] half."""
    device = next(encoder.parameters()).device
    with torch.autocast(device.type, torch.bfloat16):
        return hidden_states(encoder, pictures.to(device)).half().cpu()


def latents_of(autoencoder: Autoencoder, pictures: torch.Tensor) -> torch.Tensor:
    """Images [N, 3, H, W] in 0..1 as latents [N, 16, H/8, W/8] half."""
    device = next(autoencoder.parameters()).device
    with torch.autocast(device.type, torch.bfloat16):
        return autoencoder.encode(pictures.to(device, memory_format=torch.channels_last)).half().cpu()


def either(condition: torch.Tensor, one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Rows of one where a condition [B] holds, else of the other."""
    return torch.where(condition.reshape(-1, *[1] * (one.ndim - 1)), one, other)
