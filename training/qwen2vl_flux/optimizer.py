"""The published optimiser of Qwen2VL-Flux."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn
from torch.optim import AdamW, Optimizer

from .recipe import Qwen2VLFluxRecipe


def adamw(recipe: Qwen2VLFluxRecipe, trained: Mapping[str, nn.Parameter]) -> Optimizer:
    """AdamW with one learning rate for FLUX, one for the connector (and what is not named here), one for the
    encoder."""
    rates = {"flux": recipe.flux_lr, "connector": recipe.connector_lr, "qwen": recipe.qwen_lr}
    groups: dict[str, list[nn.Parameter]] = {}
    for name, parameter in trained.items():
        part = name.split(".")[0]
        groups.setdefault(part if part in rates else "connector", []).append(parameter)
    listed = [{"params": parameters, "lr": rates[part]} for part, parameters in groups.items()]
    return AdamW(listed, betas=recipe.betas, weight_decay=recipe.weight_decay, fused=True)
