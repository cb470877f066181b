"""Pictures and masks made fit for FLUX, as the published pipelines do it (PIL on 8-bit values)."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image, ImageOps

from .errors import InputError
from .sizes import LATENT_STEP, fitted_sizes, output_size

PICTURE = "picture"
"""The aspect ratio that keeps a picture's own shape."""


def check_picture(image: torch.Tensor) -> torch.Tensor:
    """An IMAGE [B, H, W, C] as RGB; raises InputError for what is not a picture of finite numbers."""
    if image.ndim != 4 or 0 in image.shape:
        raise InputError(
            f"The image has the shape {list(image.shape)}, not batch, height, width, channels; load a picture."
        )
    if not torch.isfinite(image).all():
        raise InputError("The image holds values that are not numbers (NaN or infinity); check the node it comes from.")
    return image[..., :3] if image.shape[-1] >= 3 else image[..., :1].expand(*image.shape[:3], 3)


def prepare(image: torch.Tensor, aspect_ratio: str, side: int) -> torch.Tensor:
    """An IMAGE [B, H, W, C] in 0..1 as [B, h, w, 3] with sides in multiples of 16.

    With the aspect ratio PICTURE it keeps its shape and shrinks to the area that `side` allows; with a published one
    its middle is cropped to that shape and size.
    """
    bands = [_bytes(picture) for picture in check_picture(image)]
    fitted = [_fitted(Image.fromarray(values), aspect_ratio, side) for values in bands]
    return torch.from_numpy(np.stack([np.asarray(picture) for picture in fitted])).float() / 255


def prepare_mask(mask: torch.Tensor, image: torch.Tensor, aspect_ratio: str, side: int) -> torch.Tensor:
    """A MASK [B, H, W] in 0..1 as [B, h, w] of zeros and ones, one value for each 8x8 pixels, over `prepare(image)`.

    It is stretched over the picture [B, H, W, C], goes through the same steps, is cut at one half, and each block
    takes the value of its top left pixel: FLUX's latents know no softer edge. Raises InputError when nothing is left
    to repaint.
    """
    if mask.ndim != 3 or 0 in mask.shape:
        raise InputError(f"The mask has the shape {list(mask.shape)}, not batch, height, width; connect a MASK.")
    if not torch.isfinite(mask).all():
        raise InputError("The mask holds values that are not numbers (NaN or infinity); check the node it comes from.")
    if len(mask) not in (1, len(image)):
        raise InputError(
            f"There are {len(mask)} masks for {len(image)} pictures; connect one mask, or one for each picture."
        )
    blocks = []
    for number, values in enumerate(mask, start=1):
        stretched = Image.fromarray(_bytes(values))
        if mask.shape[1:] != image.shape[1:3]:
            stretched = stretched.resize((image.shape[2], image.shape[1]), Image.Resampling.LANCZOS)
        fitted = np.asarray(_fitted(stretched, aspect_ratio, side))
        blocks.append(fitted[::LATENT_STEP, ::LATENT_STEP] >= 128)
        if not blocks[-1].any():
            named = "The mask" if len(mask) == 1 else f"Mask {number} of {len(mask)}"
            raise InputError(
                f"{named} is empty, so nothing would be repainted; paint the part to change in the mask editor "
                "(right click on Load Image), or connect another mask."
            )
    kept = np.stack(blocks).repeat(LATENT_STEP, axis=1).repeat(LATENT_STEP, axis=2)
    return torch.from_numpy(kept).float()


def thumbnail(picture: torch.Tensor, side: int) -> Image.Image:
    """A picture [H, W, C] in 0..1 as RGB whose longer side is `side` at most."""
    height, width = picture.shape[:2]
    share = min(1.0, side / max(height, width))
    size = max(1, round(height * share)), max(1, round(width * share))
    planes = check_picture(picture[None].float()).movedim(-1, 1)
    return Image.fromarray(_bytes(torch.nn.functional.interpolate(planes, size=size, mode="area")[0].movedim(0, -1)))


def _bytes(values: torch.Tensor) -> np.ndarray:
    return (values.cpu().float().numpy() * 255.0).round().clip(0, 255).astype(np.uint8)


def _fitted(picture: Image.Image, aspect_ratio: str, side: int) -> Image.Image:
    if aspect_ratio != PICTURE:
        width, height = output_size(aspect_ratio, side)
        return ImageOps.fit(picture, (width, height), Image.Resampling.LANCZOS)
    for size in fitted_sizes(*picture.size, side):
        if size != picture.size:
            picture = picture.resize(size, Image.Resampling.LANCZOS)
    return picture
