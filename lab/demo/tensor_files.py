"""Results of a step as tensors in a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Save tensors of any layout in memory; safetensors takes contiguous ones only."""
    save_file({name: value.contiguous() for name, value in tensors.items()}, path)
