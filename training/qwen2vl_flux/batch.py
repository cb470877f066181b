"""What one forward pass of Qwen2VL-Flux is given."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Patches:
    """Images of one size as Qwen2-VL reads them, for an encoder that trains.

    values: [B, rows * columns, 3 * temporal * patch^2], in the order that groups merge x merge patches.
    rows, columns: of the patch grid.
    """

    values: Tensor
    rows: int
    columns: int


@dataclass(frozen=True, eq=False)
class Batch:
    """latents: [B, 16, h, w], FLUX's latents after scale and shift, h and w even.
    tokens: [B, T, D], the encoder's hidden states before focus and connector; or the patches they come from.
    weights: [B, T] in 0..1, the focus weight of each token (mode `scale`); None where all are 1.
    prompt: [B, P, width of T5], its hidden states; they join after the image tokens, as at inference.
    pooled: [B, width of CLIP], its pooled vector; None is zeros.
    extras: whatever an objective of one's own reads, a row for each of B.
    """

    latents: Tensor
    tokens: Tensor | Patches
    weights: Tensor | None = None
    prompt: Tensor | None = None
    pooled: Tensor | None = None
    extras: dict[str, Tensor] = field(default_factory=dict)

    def to(self, device: torch.device) -> Batch:
        """The same batch on a device."""
        return Batch(**{entry.name: _moved(getattr(self, entry.name), device) for entry in fields(self)})


def _moved(value: object, device: torch.device) -> object:
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, Patches):
        return Patches(_moved(value.values, device), value.rows, value.columns)
    if isinstance(value, dict):
        return {name: _moved(entry, device) for name, entry in value.items()}
    return value
