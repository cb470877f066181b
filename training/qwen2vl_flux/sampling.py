"""Images from networks in training, with the published sampler."""

from __future__ import annotations

import torch
from torch import Tensor

from systems.common.schedules import flux_sigmas
from systems.common.sizes import LATENT_STEP

from .batch import Batch
from .networks import Networks


@torch.no_grad()
def sample_latents(networks: Networks, batch: Batch, noise: Tensor, steps: int, guidance: float) -> Tensor:
    """FLUX latents of the shape of `noise` [B, 16, h, w] under a batch's tokens, prompt and pooled vector: Euler's
    method over FLUX's schedule."""
    width, height = (edge * LATENT_STEP for edge in (noise.shape[-1], noise.shape[-2]))
    sigmas = torch.from_numpy(flux_sigmas(steps, 1.0, width, height)).to(noise)
    context, prompt = networks.context(batch), networks.prompt(batch)
    strength = noise.new_full((len(noise),), guidance)
    latents = noise
    for sigma, following in zip(sigmas[:-1], sigmas[1:], strict=True):
        time = sigma.expand(len(noise))
        velocity = networks.velocity(latents, time, context, batch.pooled, strength, prompt)
        latents = latents + (following - sigma) * velocity.float()
    return latents
