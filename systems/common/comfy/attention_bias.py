"""Weights of context tokens as a bias on them as keys of FLUX's joint attention.

softmax(q·k + log w) gives a key w times the weight it would have had: at 0 its influence is gone, as if the token were
not there (FLUX gives all text tokens one position), at 1 nothing changes.
"""

from __future__ import annotations

import torch

# The names under which a conditioning carries the bias for the model and that for its ControlNets.
TOKEN_BIAS = "qwen2vl_flux_token_bias"
CONTROL_TOKEN_BIAS = "qwen2vl_flux_control_token_bias"


def log_weights(weights: torch.Tensor) -> torch.Tensor:
    """Weights [B, T] in 0..1 as what is added to the attention's logits: log w, minus infinity at 0."""
    return weights.float().log()


def key_mask(bias: torch.Tensor, before: int, keys: int) -> torch.Tensor:
    """A bias [B, T] of the tokens that follow the first `before`, as a mask [1 or B, 1, 1, keys] for all queries and
    heads."""
    if (bias == bias[:1]).all():
        bias = bias[:1]
    mask = bias.new_zeros(len(bias), keys)
    mask[:, before : before + bias.shape[1]] = bias
    return mask[:, None, None, :]


def add_bias(mask: torch.Tensor | None, bias: torch.Tensor) -> torch.Tensor:
    """An attention mask that was there before (boolean, or a bias [..., queries, keys]) with the bias of keys on it."""
    if mask is None:
        return bias
    if mask.dtype == torch.bool:
        mask = torch.zeros_like(mask, dtype=bias.dtype).masked_fill(~mask, -torch.inf)
    if mask.ndim == 3:
        mask = mask[:, None]
    return mask + bias


class TokenAttentionBias:
    """An `attn1_patch` that puts the bias on every block's attention, and counts the blocks that ran it.

    `before` tokens come ahead of those that the bias is of; it is done when as many as `blocks` have run it.
    """

    def __init__(self, bias: torch.Tensor, before: int = 0, blocks: int = 1):
        self.bias = bias
        self.before = before
        self.blocks = blocks
        self.mask: torch.Tensor | None = None
        self.ran = 0

    @property
    def done(self) -> bool:
        return self.ran >= self.blocks

    def __call__(self, q, k, v, pe=None, attn_mask=None, extra_options=None) -> dict:
        self.ran += 1
        return {"attn_mask": self.mask_for(attn_mask, q, k.shape[2])}

    def mask_for(self, mask: torch.Tensor | None, like: torch.Tensor, keys: int) -> torch.Tensor:
        """The attention mask of a block with the bias on it; the bias is spread over the keys once for all blocks."""
        if self.mask is None or self.mask.shape[-1] != keys:
            self.mask = key_mask(self.bias.to(like), self.before, keys)
        return add_bias(mask, self.mask)
