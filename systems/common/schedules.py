"""Noise schedules of FLUX.1 as the published pipelines compute them (diffusers FlowMatchEulerDiscreteScheduler)."""

from __future__ import annotations

import math

import numpy as np

from .errors import InputError

BASE_TOKENS, MAX_TOKENS = 256, 4096
BASE_SHIFT, MAX_SHIFT = 0.5, 1.15


def flux_shift(width: int, height: int) -> float:
    """Time shift mu of a picture of width x height pixels: linear in its number of 16x16 patches."""
    tokens = (width // 16) * (height // 16)
    slope = (MAX_SHIFT - BASE_SHIFT) / (MAX_TOKENS - BASE_TOKENS)
    return BASE_SHIFT + slope * (tokens - BASE_TOKENS)


def flux_sigmas(steps: int, strength: float, width: int, height: int) -> np.ndarray:
    """Sigmas [n + 1] float32, falling to 0, for the n steps that a strength in 0..1 leaves of `steps`.

    The full schedule is e^mu / (e^mu + 1/t - 1) with t = linspace(1, 1/steps, steps); a strength below 1 starts
    later in it. The start index is taken in floating point and truncated, as the published img2img does
    (28 steps at strength 0.8 run 23 steps, not 22). Raises InputError for a strength outside 0..1.
    """
    if not 0 <= strength <= 1:
        raise InputError(f"The strength is {strength}; it must be from 0 to 1.")
    shift = math.exp(flux_shift(width, height))
    sigmas = shift / (shift + (1 / np.linspace(1.0, 1 / steps, steps) - 1))
    start = int(max(steps - min(steps * strength, steps), 0))
    return np.append(sigmas[start:], 0.0).astype(np.float32)
