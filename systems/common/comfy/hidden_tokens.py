"""Text tokens that live in FLUX's hidden space.

Qwen2VL-Flux sends T5 through a Linear of its own and appends the result after FLUX's context embedder (`txt_in`), so
these tokens cannot travel as ordinary context. The context is padded with as many zero tokens, which are overwritten
behind `txt_in`.
"""

from __future__ import annotations

import torch

# The name under which a conditioning carries hidden tokens.
HIDDEN_TOKENS = "qwen2vl_flux_hidden_tokens"


def zero_where_zeroed(tokens: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
    """Tokens [B, L, H], zero where ConditioningZeroOut has zeroed the context [B, T, C], which is all it knows of."""
    zeroed = ~context.flatten(1).any(dim=1)
    return tokens.masked_fill(zeroed[:, None, None], 0)


def pad_context(context: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
    """The context with as many zero tokens at its end as there are hidden tokens."""
    return torch.cat((context, context.new_zeros(*hidden.shape[:2], context.shape[-1])), dim=1)


def insert_hidden_tokens(text: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
    """The text tokens behind `txt_in`, the last of them overwritten by the hidden tokens."""
    return torch.cat((text[:, : text.shape[1] - hidden.shape[1]], hidden.to(text)), dim=1)


class InsertHiddenTokens:
    """A `post_input` patch that puts hidden tokens at the end of the text tokens, and remembers that it ran."""

    def __init__(self, hidden: torch.Tensor):
        self.hidden = hidden
        self.done = False

    def __call__(self, args: dict) -> dict:
        self.done = True
        return {**args, "txt": insert_hidden_tokens(args["txt"], self.hidden)}


def pad_attention_mask(mask: torch.Tensor, text: int, more: int) -> torch.Tensor:
    """An attention bias [..., N, N] with `more` unbiased places after the text's."""
    for dim in (-1, -2):
        shape = list(mask.shape)
        shape[dim] = more
        before, after = mask.split((text, mask.shape[dim] - text), dim=dim)
        mask = torch.cat((before, mask.new_zeros(shape), after), dim=dim)
    return mask
