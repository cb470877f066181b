"""Pictures as Qwen2-VL reads them (transformers' Qwen2VLImageProcessor, bit for bit)."""

from __future__ import annotations

import math

import numpy as np
import torch
from einops import repeat
from PIL import Image

from ..common.errors import InputError
from ..common.images import to_uint8
from .checkpoint import Qwen2VLConfig

DEFAULT_BUDGET = 512
MAX_ASPECT = 200


def patches_of(picture: torch.Tensor, config: Qwen2VLConfig, token_budget: int) -> tuple[torch.Tensor, tuple[int, int]]:
    """One RGB picture [H, W, 3] in 0..1 as patches [1, rows * columns, 3 * temporal * patch^2] and (rows, columns).

    token_budget 0 takes the checkpoint's own picture area, or 512 tokens where it has none. Resized by PIL's bicubic
    filter on 8-bit values: every tensor resize costs 1e-2 or more in the hidden states.
    """
    vision, factor = config.vision, config.factor
    pixels = token_budget * factor**2 or config.image_pixels or DEFAULT_BUDGET * factor**2
    height, width = encoder_size(picture.shape[0], picture.shape[1], factor, pixels)
    resized = Image.fromarray(to_uint8(picture)).resize((width, height), Image.Resampling.BICUBIC)
    values = torch.from_numpy(np.asarray(resized, dtype=np.float64) * (1 / 255)).float()
    values = (values - torch.tensor(config.image_mean)) / torch.tensor(config.image_std)
    patches = repeat(
        values,
        "(r mr ph) (c mc pw) rgb -> 1 (r c mr mc) (rgb t ph pw)",
        mr=vision.merge, mc=vision.merge, ph=vision.patch, pw=vision.patch, t=vision.temporal_patch,
    )  # fmt: skip
    return patches, (height // vision.patch, width // vision.patch)


def encoder_size(height: int, width: int, factor: int, pixels: int) -> tuple[int, int]:
    """(height, width) at which Qwen2-VL reads a picture: multiples of `factor`, area near `pixels`, aspect kept.

    Qwen2-VL's smart_resize with min_pixels = max_pixels. Raises InputError beyond an aspect ratio of 200:1.
    """
    if max(height, width) > MAX_ASPECT * min(height, width):
        raise InputError(
            f"The image is {width}x{height} pixels, and Qwen2-VL reads nothing longer than {MAX_ASPECT}:1; "
            "crop it or pad it first."
        )
    rows, columns = round(height / factor) * factor, round(width / factor) * factor
    if rows * columns > pixels:
        scale = math.sqrt(height * width / pixels)
        return (
            max(factor, math.floor(height / scale / factor) * factor),
            max(factor, math.floor(width / scale / factor) * factor),
        )
    if rows * columns < pixels:
        scale = math.sqrt(pixels / (height * width))
        return math.ceil(height * scale / factor) * factor, math.ceil(width * scale / factor) * factor
    return rows, columns
