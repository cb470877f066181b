"""The rectified-flow objective with embedded guidance."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .batch import Batch
from .networks import Networks


@dataclass(frozen=True)
class RectifiedFlow:
    """Mean squared error of the velocity on the straight line from image to noise (Liu et al. 2022,
    arXiv:2209.03003), at times of a logit-normal distribution (Esser et al. 2024, arXiv:2403.03206).

    guidance: what the guidance embedding is told. FLUX.1-dev is guidance-distilled and how the published training fed
    it is not known; a fixed value is customary, and 3.5 is the one that the published pipelines sample with.
    """

    guidance: float = 3.5

    def modules(self) -> None:
        return None

    def loss(self, networks: Networks, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        latents = batch.latents
        noise = torch.randn(latents.shape, generator=generator).to(latents)
        time = logit_normal(len(latents), generator).to(latents)
        velocity = networks.velocity(
            mixed(latents, noise, time),
            time,
            networks.context(batch),
            batch.pooled,
            torch.full_like(time, self.guidance),
            networks.prompt(batch),
        )
        return {"loss": flow_loss(velocity, latents, noise)}


def logit_normal(count: int, generator: torch.Generator, mean: float = 0.0, spread: float = 1.0) -> Tensor:
    """Times [count] in 0..1: the logistic function of a normal distribution."""
    return torch.sigmoid(mean + spread * torch.randn(count, generator=generator))


def mixed(latents: Tensor, noise: Tensor, time: Tensor) -> Tensor:
    """Latents [B, ...] at times [B]: the image at 0, pure noise at 1."""
    return torch.lerp(latents, noise, time.reshape(-1, *[1] * (latents.ndim - 1)))


def flow_loss(velocity: Tensor, latents: Tensor, noise: Tensor) -> Tensor:
    """How far a velocity is from noise - latents, which FLUX predicts: its mean square."""
    return (velocity.float() - (noise - latents).float()).square().mean()
