"""Pictures and masks made fit for FLUX, as the published pipelines do it (PIL on 8-bit values)."""

from __future__ import annotations

import math

import numpy as np
import torch
from PIL import Image, ImageOps

from .errors import InputError
from .sizes import LATENT_STEP, PICTURE, fitted_sizes, output_size

# The value of 255 from which on a mask inpaints.
WHITE = 128


def check_picture(image: torch.Tensor) -> torch.Tensor:
    """An IMAGE [B, H, W, C] as RGB; raises InputError for what is not a picture of finite numbers."""
    if image.ndim != 4 or 0 in image.shape:
        raise InputError(
            f"The image has the shape {list(image.shape)}, not batch, height, width, channels; load an image."
        )
    if not torch.isfinite(image).all():
        raise InputError("The image holds values that are not numbers (NaN or infinity); check the node it comes from.")
    return image[..., :3] if image.shape[-1] >= 3 else image[..., :1].expand(*image.shape[:3], 3)


def prepare(image: torch.Tensor, aspect_ratio: str, side: int) -> torch.Tensor:
    """An IMAGE [B, H, W, C] in 0..1 as [B, h, w, 3] with sides in multiples of 16.

    With the aspect ratio PICTURE it keeps its shape and shrinks to the area that `side` allows; with a published one
    its middle is cropped to that shape and size.
    """
    bands = [to_uint8(picture) for picture in check_picture(image)]
    fitted = [_fitted(Image.fromarray(values), aspect_ratio, side) for values in bands]
    return torch.from_numpy(np.stack([np.asarray(picture) for picture in fitted])).float() / 255


def prepare_mask(
    mask: torch.Tensor, image: torch.Tensor, aspect_ratio: str, side: int, soft: bool = False
) -> torch.Tensor:
    """A MASK [B, H, W] in 0..1 as [B, h, w] over `prepare(image)`, one value for each 8x8 pixels: a latent's cell.

    It is stretched over the picture [B, H, W, C] and goes through the same steps. As published it is then cut at one
    half, and each block takes the value of its top left pixel: zeros and ones. A soft one keeps its grey values, each
    block their average. Raises InputError when nothing is left to inpaint.
    """
    if mask.ndim != 3 or 0 in mask.shape:
        raise InputError(f"The mask has the shape {list(mask.shape)}, not batch, height, width; connect a MASK.")
    if not torch.isfinite(mask).all():
        raise InputError("The mask holds values that are not numbers (NaN or infinity); check the node it comes from.")
    if len(mask) not in (1, len(image)):
        raise InputError(
            f"There are {len(mask)} masks for {len(image)} images; connect one mask, or one for each image."
        )
    size = image.shape[2], image.shape[1]
    blocks = []
    for number, values in enumerate(map(to_uint8, mask), start=1):
        fitted = np.asarray(_over(Image.fromarray(values), size, aspect_ratio, side))
        blocks.append(_averages(fitted) if soft else fitted[::LATENT_STEP, ::LATENT_STEP] >= WHITE)
        if not blocks[-1].any():
            named = "The mask" if len(mask) == 1 else f"Mask {number} of {len(mask)}"
            raise InputError(f"{named} {_nothing_left(values, size, aspect_ratio, side, soft)}")
    kept = np.stack(blocks).repeat(LATENT_STEP, axis=1).repeat(LATENT_STEP, axis=2)
    return torch.from_numpy(kept).float()


def _nothing_left(values: np.ndarray, size: tuple[int, int], aspect_ratio: str, side: int, soft: bool) -> str:
    """Why a mask [H, W] in 0..255 over an image of that (width, height) inpaints nothing, and what to do."""
    painted = values > 0 if soft else values >= WHITE
    if not values.any():
        return (
            "is empty, so nothing would be inpainted; paint the part to change in the mask editor (right click on Load "
            "Image), or connect another mask."
        )
    if not painted.any():
        return (
            f"is too faint: it is {values.max() / 255:.3f} at most and is cut at one half, so nothing would be "
            "inpainted; paint it white, or switch soft_mask on."
        )
    share = _over(Image.fromarray(painted.astype(np.float32)), size, aspect_ratio, side, Image.Resampling.BOX)
    if not np.asarray(share).any():
        return (
            f"lies outside the middle that aspect_ratio {aspect_ratio} keeps, so nothing would be inpainted; paint "
            f"nearer to the middle, or choose {PICTURE}."
        )
    if soft:
        return "is too faint, so nothing would be inpainted; paint it brighter or broader."
    pixels = math.ceil(2 * LATENT_STEP * max(1.0, min(size[0] / share.width, size[1] / share.height)))
    return (
        "is too thin: each 8x8 pixels for FLUX take the value of the upper left one, and it covers none of these, so "
        f"nothing would be inpainted; paint at least {pixels} pixels of the image broad, or widen it with Grow Mask."
    )


def thumbnail(picture: torch.Tensor, side: int) -> Image.Image:
    """A picture [H, W, C] in 0..1 as RGB whose longer side is `side` at most."""
    height, width = picture.shape[:2]
    share = min(1.0, side / max(height, width))
    size = max(1, round(height * share)), max(1, round(width * share))
    planes = check_picture(picture[None].float()).movedim(-1, 1)
    return Image.fromarray(to_uint8(torch.nn.functional.interpolate(planes, size=size, mode="area")[0].movedim(0, -1)))


def to_uint8(values: torch.Tensor) -> np.ndarray:
    """Values in 0..1, or beyond, as the nearest of 0..255."""
    return (values.cpu().float().numpy() * 255.0).round().clip(0, 255).astype(np.uint8)


def _averages(values: np.ndarray) -> np.ndarray:
    """[h, w] in 0..255 as the means [h / 8, w / 8] in 0..1 of its blocks."""
    height, width = values.shape
    blocks = values.reshape(height // LATENT_STEP, LATENT_STEP, width // LATENT_STEP, LATENT_STEP)
    return blocks.mean(axis=(1, 3), dtype=np.float64) / 255


def _over(
    mask: Image.Image,
    size: tuple[int, int],
    aspect_ratio: str,
    side: int,
    by: Image.Resampling = Image.Resampling.LANCZOS,
) -> Image.Image:
    """A mask stretched over a picture of (width, height) that is then fitted."""
    return _fitted(mask if mask.size == size else mask.resize(size, by), aspect_ratio, side, by)


def _fitted(
    picture: Image.Image, aspect_ratio: str, side: int, by: Image.Resampling = Image.Resampling.LANCZOS
) -> Image.Image:
    if aspect_ratio != PICTURE:
        width, height = output_size(aspect_ratio, side)
        return ImageOps.fit(picture, (width, height), by)
    for size in fitted_sizes(*picture.size, side):
        if size != picture.size:
            picture = picture.resize(size, by)
    return picture
