"""Noise for a schedule entered in the middle, as the published ControlNet pipeline enters it."""

from __future__ import annotations

import torch

from ..common.errors import InputError


class PureNoise:
    """A NOISE whose samples are the noise itself at the first sigma, where ComfyUI would scale it by that sigma.

    The published ControlNet mode starts like this at every strength, so that the picture is drawn from its hints and
    tokens alone. Only an empty latent can be entered so.
    """

    def __init__(self, noise, sigmas: torch.Tensor):
        if not len(sigmas) or not sigmas[0] > 0:
            raise InputError("The sigmas hold no step to begin with; raise the strength or the steps.")
        self.noise = noise
        self.first_sigma = float(sigmas[0])

    @property
    def seed(self) -> int:
        return self.noise.seed

    def generate_noise(self, latent: dict) -> torch.Tensor:
        """Noise of the latent's shape, divided by the first sigma."""
        if latent["samples"].count_nonzero():
            raise InputError(
                "The latent holds an image, and pure noise leaves no place for it; connect an empty latent, or take "
                "out Qwen2VL-Flux Pure Noise."
            )
        return self.noise.generate_noise(latent) / self.first_sigma
