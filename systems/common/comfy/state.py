"""The weights of a component folder as ComfyUI reads them."""

from __future__ import annotations

import comfy.utils
import torch

from ..weights.shards import WeightFiles


def load_state(files: WeightFiles) -> dict[str, torch.Tensor]:
    """All tensors by their stored names, shards merged; ComfyUI may map the files instead of reading them."""
    state: dict[str, torch.Tensor] = {}
    for path in files.files():
        state.update(comfy.utils.load_torch_file(str(path)))
    return state
