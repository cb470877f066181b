"""Which of ComfyUI's attentions the pack's networks use."""

from __future__ import annotations

from collections.abc import Callable

import torch
from comfy.ldm.modules.attention import attention_pytorch, optimized_attention_for_device


def attention_for(device: torch.device, mask: bool) -> Callable[..., torch.Tensor]:
    """ComfyUI's attention for a device; on the CPU its choice would be the unfused product, twice as slow."""
    if device.type == "cpu":
        return attention_pytorch
    return optimized_attention_for_device(device, mask=mask, small_input=True)
