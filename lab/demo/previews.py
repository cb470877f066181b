"""Sheets that show how the embedded checkpoint's training goes."""

from __future__ import annotations

from pathlib import Path

import torch

from training.generators import generator_for
from training.qwen2vl_flux.batch import Batch
from training.qwen2vl_flux.encoder import Qwen2VLEncoder
from training.qwen2vl_flux.networks import Networks
from training.qwen2vl_flux.samples import as_picture, contact_sheet
from training.qwen2vl_flux.sampling import sample_latents

from ..world.references import Source, render_for_encoder
from ..world.scenes import random_layout, random_scenes, render
from .autoencoder import LATENT_CHANNELS, REDUCTION, Autoencoder
from .pairs import tokens_of
from .variation import USUAL_GUIDANCE

# The sources of the references, whose sizes are also those of their variations; each has lines for two scenes.
SOURCES = (Source(128, 128, True), Source(128, 128, True), Source(160, 96, True), Source(96, 160, False))
SEEDS, STEPS = 6, 20


class Previews:
    """Writes step-<n>.png: a line for each of eight scenes, its reference first, then variations of it."""

    def __init__(self, encoder: Qwen2VLEncoder, autoencoder: Autoencoder, folder: Path) -> None:
        self.encoder, self.autoencoder, self.folder = encoder, autoencoder, folder

    @torch.no_grad()
    def __call__(self, networks: Networks, step: int) -> None:
        generator, lines = generator_for(0), []
        for source in SOURCES:
            scenes = random_scenes(2, generator)
            layout = random_layout(scenes, source.canvas, generator)
            tokens = tokens_of(self.encoder, render_for_encoder(scenes, layout, source)[0]).float()
            references = render(scenes, layout, source.height, source.width)[0]
            shape = (LATENT_CHANNELS, source.height // REDUCTION, source.width // REDUCTION)
            noise = torch.randn(2 * SEEDS, *shape, generator=generator)
            batch = Batch(noise, tokens.repeat_interleave(SEEDS, 0)).to(networks.connector.weight.device)
            latents = sample_latents(networks, batch, batch.latents, STEPS, USUAL_GUIDANCE)
            drawn = self.autoencoder.decode(latents).clamp(0, 1).unflatten(0, (2, SEEDS))
            for reference, variations in zip(references, drawn, strict=True):
                lines.append([as_picture(each) for each in (reference, *variations)])
        contact_sheet(lines).save(self.folder / f"step-{step:06d}.png")
