"""Pictures as Qwen2-VL reads them (transformers' Qwen2VLImageProcessor, bit for bit)."""

from __future__ import annotations

import numpy as np
import torch
from einops import repeat
from PIL import Image

from ..common.sizes import encoder_size
from .checkpoint import Qwen2VLConfig

DEFAULT_BUDGET = 512


def patches_of(picture: torch.Tensor, config: Qwen2VLConfig, token_budget: int) -> tuple[torch.Tensor, tuple[int, int]]:
    """One RGB picture [H, W, 3] in 0..1 as patches [1, rows * columns, 3 * temporal * patch^2] and (rows, columns).

    token_budget 0 takes the checkpoint's own picture area, or 512 tokens where it has none. Resized by PIL's bicubic
    filter on 8-bit values: every tensor resize costs 1e-2 or more in the hidden states.
    """
    vision, factor = config.vision, config.factor
    pixels = token_budget * factor**2 or config.image_pixels or DEFAULT_BUDGET * factor**2
    height, width = encoder_size(picture.shape[0], picture.shape[1], factor, pixels)
    bytes_ = (picture.cpu().float().numpy() * 255.0).round().clip(0, 255).astype(np.uint8)
    resized = Image.fromarray(bytes_).resize((width, height), Image.Resampling.BICUBIC)
    values = torch.from_numpy(np.asarray(resized, dtype=np.float64) * (1 / 255)).float()
    values = (values - torch.tensor(config.image_mean)) / torch.tensor(config.image_std)
    patches = repeat(
        values,
        "(r mr ph) (c mc pw) rgb -> 1 (r c mr mc) (rgb t ph pw)",
        mr=vision.merge, mc=vision.merge, ph=vision.patch, pw=vision.patch, t=vision.temporal_patch,
    )  # fmt: skip
    return patches, (height // vision.patch, width // vision.patch)
