"""What ComfyUI's own FLUX.1 network takes, and which of its blocks are its own."""

from __future__ import annotations

import torch
from comfy.ldm.flux.model import Flux

from ..errors import InputError


def check_widths(
    name: str, network: Flux, context: torch.Tensor, pooled: torch.Tensor | None, hidden: torch.Tensor | None
) -> None:
    """Name what comes from another checkpoint, before a matrix product fails on it.

    context [B, T, C], pooled [B, V] and hidden tokens [B, L, H] are held against a network called `name` in the error.
    """
    found = (
        ("The conditioning is", context, "takes", network.params.context_in_dim, "the Qwen2VL encoder"),
        ("The pooled vector is", pooled, "takes", network.params.vec_in_dim, "the text encoders"),
        ("The prompt's tokens are", hidden, "works with", network.hidden_size, "the Qwen2VL encoder"),
    )
    for thing, value, verb, width, part in found:
        if value is not None and value.shape[-1] != width:
            raise InputError(
                f"{thing} {value.shape[-1]} wide and {name} {verb} {width}; load the model and {part} from the "
                "same checkpoint."
            )


def own_blocks(network: Flux, transformer_options: dict) -> int:
    """How many of FLUX's blocks no node has replaced by its own, but one at least."""
    names = [("double_block", number) for number in range(len(network.double_blocks))]
    names += [("single_block", number) for number in range(len(network.single_blocks))]
    replaced = transformer_options.get("patches_replace", {}).get("dit", {})
    return max(1, sum(name not in replaced for name in names))
