"""GridDot focus: dots over a picture become a weight for each of its tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from ..common.errors import InputError
from .dots import Dot
from .tokens import ImageTokens

MODES = ("scale", "drop", "attention")


def circle(dot: Dot, rows: int, columns: int) -> torch.Tensor:
    """[rows, columns] float64 in 0..1: 1 at the dot's centre, falling linearly to 0 at its radius.

    The attention matrix of Qwen2VL-Flux, on integer token indices: clip(1 - distance / (r * min(rows, columns)), 0, 1).
    """
    y = torch.arange(rows, dtype=torch.float64)[:, None]
    x = torch.arange(columns, dtype=torch.float64)[None, :]
    distance = torch.sqrt((x - dot.x * columns) ** 2 + (y - dot.y * rows) ** 2)
    return (1 - distance / (dot.r * min(rows, columns))).clamp(0, 1)


def focus_map(dots: Sequence[Dot], rows: int, columns: int) -> torch.Tensor:
    """Weight of each token, [rows, columns] float32 in 0..1.

    Positive dots combine by maximum; each negative dot then multiplies by 1 - |w| * circle, on a map of ones when
    there is no positive dot. A dot of weight 0 is switched off; no dots leave every weight at 1.
    """
    kept = [dot for dot in dots if dot.w > 0]
    weights = torch.full((rows, columns), 0.0 if kept else 1.0, dtype=torch.float64)
    for dot in kept:
        weights = torch.maximum(weights, dot.w * circle(dot, rows, columns))
    for dot in dots:
        if dot.w < 0:
            weights = weights * (1 + dot.w * circle(dot, rows, columns))
    return weights.float()


def pool_mask(mask: torch.Tensor, rows: int, columns: int, pictures: int) -> torch.Tensor:
    """A mask [H, W] or [B, H, W] of any size, 0..1, averaged over each token's area: [B, rows, columns] float32.

    B is 1 or the number of pictures. Raises InputError for anything else and for values that are not numbers.
    """
    mask = mask[None] if mask.ndim == 2 else mask
    if mask.ndim != 3 or 0 in mask.shape or mask.shape[0] not in (1, pictures):
        raise InputError(
            f"The focus mask has the shape {list(mask.shape)} for {pictures} image(s); give one, or one for each."
        )
    if not torch.isfinite(mask).all():
        raise InputError("The focus mask holds values that are not numbers (NaN or infinity); give a mask of 0 to 1.")
    averaged = torch.nn.functional.adaptive_avg_pool2d(mask.float()[:, None], (rows, columns))
    return averaged[:, 0].clamp(0, 1)


def at_image_size(weights: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Token weights [B, rows, columns] as a picture [B, height, width], each token a flat block."""
    return torch.nn.functional.interpolate(weights[:, None], size=(height, width), mode="nearest-exact")[:, 0]


def apply_focus(tokens: ImageTokens, weights: torch.Tensor, mode: str) -> ImageTokens:
    """Tokens under weights [1 or B, rows, columns] in 0..1, in one of MODES.

    `scale` multiplies each token by its weight, as published; `drop` also takes those of weight 0 away; `attention`
    leaves the tokens as they are and weights what FLUX's attention makes of them. Raises InputError when nothing of a
    picture is left, or when the pictures of a batch would keep different tokens.
    """
    if not tokens.is_whole:
        raise InputError(
            "These tokens were already thinned by mode drop, or joined; focus once and before joining, or use another "
            "mode first."
        )
    flat = weights.flatten(1).to(tokens.embeddings)
    kept = flat > 0
    if not kept.any(dim=1).all():
        raise InputError(
            "The focus leaves nothing of the image; add a dot, enlarge its r, or give a mask that is white where it "
            "should keep (the mask of an image without transparency is black)."
        )
    if mode == "attention":
        flat = flat.expand(len(tokens.embeddings), -1)
        return replace(tokens, weights=flat if tokens.weights is None else flat * tokens.weights)
    weighted = replace(tokens, embeddings=tokens.embeddings * flat[..., None])
    if mode == "scale":
        return weighted
    if not (kept == kept[:1]).all():
        raise InputError(
            "The focus mask keeps different tokens in the images of the batch, and mode drop needs the same ones; "
            "use mode scale or one mask for all."
        )
    return weighted.only(kept[0])
