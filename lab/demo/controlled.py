"""A union ControlNet for the embedded checkpoint, which reads depth and lines.

Layout and modes are those of InstantX's FLUX.1-dev-Controlnet-Union; it starts as a copy of FLUX's first block.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import FluxControlNetModel
from safetensors.torch import load_file
from torch import Tensor, nn

from training.generators import generator_for
from training.qwen2vl_flux.batch import Batch
from training.qwen2vl_flux.encoder import Qwen2VLEncoder
from training.qwen2vl_flux.flow import flow_loss, mixed
from training.qwen2vl_flux.networks import Networks, image_ids, packed_latents

from ..world import hints
from ..world.references import random_source, render_for_encoder
from ..world.scenes import UNIT, Layout, Scenes, in_parts, random_layout, random_scenes, render
from . import pairs
from .autoencoder import Autoencoder
from .pairs import latents_of, tokens_of
from .tensor_files import save_tensors
from .variation import random_start

MODES = 10
# The modes of the union that are trained: `canny`, as published for lines, and `depth`.
HINTS = {0: hints.outlines, 2: hints.depth}
CHUNKS, CHUNK = 40, 96


def new_controlnet(networks: Networks) -> FluxControlNetModel:
    """One double block, copied from FLUX's first, that says nothing yet."""
    known = inspect.signature(FluxControlNetModel.__init__).parameters
    config = {name: value for name, value in networks.flux.config.items() if name in known}
    controlnet = FluxControlNetModel(**{**config, "num_layers": 1, "num_single_layers": 0, "num_mode": MODES})
    given = networks.flux.state_dict()
    own = controlnet.state_dict()
    controlnet.load_state_dict({name: given.get(name, value) for name, value in own.items()})
    controlnet.time_text_embed.text_embedder.linear_1.weight.requires_grad_(False)
    return controlnet


class ControlledFlow:
    """Rectified flow of a frozen FLUX under what the ControlNet adds."""

    def __init__(self, networks: Networks) -> None:
        self.controlnet = new_controlnet(networks)

    def modules(self) -> nn.Module:
        return self.controlnet

    def loss(self, networks: Networks, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        latents = batch.latents
        noise, times, guidance = random_start(latents, generator)
        noisy = mixed(latents, noise, times)
        context = networks.context(batch)
        rows, columns = (edge // 2 for edge in latents.shape[-2:])
        control, _ = self.controlnet(
            hidden_states=packed_latents(noisy),
            controlnet_cond=packed_latents(batch.extras["hints"]),
            controlnet_mode=batch.extras["modes"],
            encoder_hidden_states=context,
            pooled_projections=latents.new_zeros(len(latents), networks.flux.config.pooled_projection_dim),
            timestep=times,
            guidance=guidance,
            img_ids=image_ids(rows, columns, latents.device),
            txt_ids=torch.zeros(context.shape[1], 3, device=latents.device),
            return_dict=False,
        )
        velocity = networks.velocity(noisy, times, context, None, guidance, control=control)
        return {"loss": flow_loss(velocity, latents, noise)}


# ---- images and their hints ----------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Chunk:
    """tokens [N, T, 128] half of images shown; latents [N, 16, h, w] half of the same things laid out anew, and of
    this layout's outlines and depth: hints [N, 2, 16, h, w] half."""

    tokens: Tensor
    latents: Tensor
    hints: Tensor

    def save(self, path: Path) -> None:
        save_tensors(path, vars(self))

    @classmethod
    def load(cls, path: Path) -> Chunk:
        return cls(**load_file(path))


class HintBatches:
    """Batches out of chunks that lie in memory (a Batches)."""

    def __init__(self, chunks: list[Chunk], size: int, seed: int) -> None:
        self.chunks, self.size, self.seed = chunks, size, seed

    def batch(self, step: int, part: int, rank: int) -> Batch:
        generator = generator_for(self.seed, step, part, rank, 1)  # noise never has a fifth number
        chunk = self.chunks[int(torch.randint(len(self.chunks), (), generator=generator))]
        rows = torch.randperm(CHUNK, generator=generator)[: self.size]
        which = torch.randint(2, (self.size,), generator=generator)
        return Batch(
            latents=chunk.latents[rows].float(),
            tokens=chunk.tokens[rows].float(),
            extras={
                "hints": chunk.hints[rows, which].float(),
                "modes": torch.tensor(list(HINTS))[which][:, None],
            },
        )


def save_chunks(folder: Path, encoder: Qwen2VLEncoder, autoencoder: Autoencoder, generator: torch.Generator) -> None:
    """Files of chunks of the sizes that FLUX draws, about as often."""
    sizes, shares = list(pairs.CHUNKS), torch.tensor([float(number) for number in pairs.CHUNKS.values()])
    for number in range(CHUNKS):
        size = sizes[torch.multinomial(shares, 1, generator=generator)]
        random_chunk(encoder, autoencoder, size, generator).save(folder / f"{number:03d}.safetensors")


@torch.no_grad()
def random_chunk(
    encoder: Qwen2VLEncoder, autoencoder: Autoencoder, size: tuple[int, int], generator: torch.Generator
) -> Chunk:
    """One chunk of images to draw of (width, height) pixels."""
    scenes, source = random_scenes(CHUNK, generator), random_source(generator)
    width, height = size

    def shown(scenes: Scenes, layout: Layout) -> tuple[Tensor]:
        return (tokens_of(encoder, render_for_encoder(scenes, layout, source)[0]),)

    def drawn(scenes: Scenes, layout: Layout) -> tuple[Tensor, Tensor]:
        picture = render(scenes, layout, height, width)[0]
        maps = [hint(scenes, layout, height, width).expand_as(picture) for hint in HINTS.values()]
        return latents_of(autoencoder, picture), torch.stack([latents_of(autoencoder, each) for each in maps], dim=1)

    (tokens,) = in_parts(shown, scenes, random_layout(scenes, source.canvas, generator))
    latents, maps = in_parts(drawn, scenes, random_layout(scenes, (width / UNIT, height / UNIT), generator))
    return Chunk(tokens, latents, maps)
