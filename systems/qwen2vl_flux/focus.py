"""GridDot focus: dots over a picture become a weight for each of its tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from ..common.errors import InputError
from ..common.json_fields import check_count, kind, read_list
from .tokens import ImageTokens

EXAMPLE = '[{"x": 0.3, "y": 0.5, "r": 0.4, "w": 1}]'
MODES = ("scale", "drop", "attention")
MAX_DOTS = 10_000
MAX_RADIUS = 10.0
RANGES = {"x": (0.0, 1.0), "y": (0.0, 1.0), "r": (0.0, MAX_RADIUS), "w": (-1.0, 1.0)}


@dataclass(frozen=True)
class Dot:
    """A circle of attention. x, y: centre, 0..1 of the picture's width and height (top left is 0, 0);
    r: radius as a share of the shorter side of the token grid, above 0; w: 0..1 keeps, below 0 suppresses."""

    x: float
    y: float
    r: float = 0.5
    w: float = 1.0


def parse_dots(text: str) -> tuple[Dot, ...]:
    """Dots from JSON text such as ``[{"x": 0.3, "y": 0.5, "r": 0.4, "w": 1}]``; blank text is no dot.

    r defaults to 0.5, w to 1. Raises InputError with one sentence for anything else.
    """
    entries = read_list(text, "dots", EXAMPLE)
    check_count(entries, "dots", MAX_DOTS)
    return tuple(_dot(number, entry) for number, entry in enumerate(entries, start=1))


def _dot(number: int, entry: object) -> Dot:
    if not isinstance(entry, dict):
        raise InputError(f"Dot {number} is a JSON {kind(entry)}, not an object; write dots like {EXAMPLE}.")
    unknown = [key for key in entry if key not in RANGES]
    if unknown:
        raise InputError(f"Dot {number} has an unknown entry {unknown[0][:40]!r}; a dot knows x, y, r and w only.")
    for key in ("x", "y"):
        if key not in entry:
            raise InputError(f"Dot {number} has no {key}; a dot needs x and y from 0 to 1, like {EXAMPLE}.")
    return Dot(**{key: _number(number, key, value) for key, value in entry.items()})


def _number(number: int, key: str, value: object) -> float:
    if not isinstance(value, float):
        raise InputError(f"{key} of dot {number} is a JSON {kind(value)}, not a number; write dots like {EXAMPLE}.")
    low, high = RANGES[key]
    if not low <= value <= high or (key == "r" and value == 0):
        span = f"above {low:g}, at most {high:g}" if key == "r" else f"from {low:g} to {high:g}"
        raise InputError(f"{key} of dot {number} is {value}; it must be {span}.")
    return value


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
