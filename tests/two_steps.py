"""Short sampling runs on the goldens' noise, for tests that compare one conditioning with another."""

from __future__ import annotations

import comfy.samplers
import torch
from comfy_extras.nodes_custom_sampler import Guider_Basic
from goldens import golden

from systems.common.schedules import flux_sigmas


def sample(model, positive: list, negative: list | None = None, cfg: float = 1.0, batch: int = 1) -> torch.Tensor:
    """Latents [batch, 16, 16, 24] after two steps."""
    guider = comfy.samplers.CFGGuider(model) if negative else Guider_Basic(model)
    if negative:
        guider.set_conds(positive, negative)
        guider.set_cfg(cfg)
    else:
        guider.set_conds(positive)
    noise, sigmas = golden("loop_inputs")["noise"][:batch], torch.from_numpy(flux_sigmas(2, 1.0, 192, 128))
    with torch.inference_mode():
        sampler = comfy.samplers.sampler_object("euler")
        return guider.sample(noise, torch.zeros_like(noise), sampler, sigmas, disable_pbar=True, seed=0)
