"""The published numbers of Qwen2VL-Flux. Standard library only, as the command line reads them."""

from __future__ import annotations

from dataclasses import dataclass

from ..recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Qwen2VLFluxRecipe(Recipe):
    """Defaults are the published ones on 8 GPUs, where they are known: of warm-up and decay the publication says
    "short" and "linear", and the fractions are ours.

    flux_lr, connector_lr, qwen_lr: learning rates of the three groups; betas, weight_decay: AdamW's.
    """

    steps: int = 100_000
    warm_up: float = 0.01
    decay: float = 0.2
    batch_size: int = 8
    accumulation: int = 2
    flux_lr: float = 1e-5
    connector_lr: float = 1e-5
    qwen_lr: float = 1e-5
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = 0.1
