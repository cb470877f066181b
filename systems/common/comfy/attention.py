"""Which of ComfyUI's attentions the pack's networks use."""

from __future__ import annotations

from collections.abc import Callable

import torch
from comfy.ldm.modules.attention import attention_pytorch, optimized_attention_for_device
from torch import Tensor

from .interrupts import interruptible

# The products of queries and keys, times their width, in one call: seconds on two cores. The 65,536 patches of a long
# encode would take minutes.
WORK = 2**35

# The fewest queries in one call; torch reads fewer than 768 in smaller blocks, which rounds differently.
LEAST = 1024


def attention_for(device: torch.device, mask: bool) -> Callable[..., Tensor]:
    """ComfyUI's attention for a device; on the CPU its choice would be the unfused product, twice as slow."""
    if device.type == "cpu":
        return attention_in_parts
    return optimized_attention_for_device(device, mask=mask, small_input=True)


def attention_in_parts(q: Tensor, k: Tensor, v: Tensor, heads: int, mask: Tensor | None = None, **how) -> Tensor:
    """attention_pytorch of [B, heads, N, width] under a mask [N, N], to the bit, that an interrupt stops within
    seconds however large N is."""
    count = q.shape[2]
    queries = max(WORK // (count * heads * q.shape[3] * LEAST), 1) * LEAST
    starts = range(0, max(count - queries, 0) + 1, queries)  # the last part takes what is left over
    parts = []
    for start, end in interruptible(zip(starts, [*starts[1:], count], strict=True)):
        rows = None if mask is None else mask[start:end]
        parts.append(attention_pytorch(q[:, :, start:end], k, v, heads, mask=rows, **how))
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
