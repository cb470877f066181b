"""OpenCV's resizes, to the bit, without OpenCV: the fixed-point arithmetic of its 8-bit pictures is part of what the
published annotators compute (modules/imgproc/src/resize.cpp of OpenCV 4).

A requirement on OpenCV would put a second distribution of it over the one that other packs have installed, which is a
common way to break both; these few lines are compared with the real one in tests/parity.
"""

from __future__ import annotations

import math

import numpy as np

# The bits of the fixed-point weights.
FIXED = 11

HALF = math.sqrt(0.5)
# The factors of the sine and cosine of the first tap's angle that give the sine at all eight.
TURNS = np.array([[1, -HALF, 0, HALF, -1, HALF, 0, -HALF], [0, -HALF, 1, -HALF, 0, HALF, -1, HALF]])

# The taps of one axis: source indices [outputs, taps] and their weights [outputs, taps].
Taps = tuple[np.ndarray, np.ndarray]


def resize_linear(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    """INTER_LINEAR of uint8 [H, W, C] to [height, width, C]."""
    rows, columns = picture.shape[:2]
    if (rows, columns) == (2 * height, 2 * width):
        return resize_area(picture, width, height)
    return _apply_linear(picture, _linear(columns, width, down=False), _linear(rows, height, down=True))


def resize_cubic(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    """INTER_CUBIC of float64 [H, W, C] to [height, width, C]."""
    rows, columns = picture.shape[:2]
    return _weighted(_weighted(picture, _cubic(columns, width), axis=1), _cubic(rows, height), axis=0)


def resize_lanczos(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    """INTER_LANCZOS4 of uint8 [H, W, C] to [height, width, C]."""
    rows, columns = picture.shape[:2]
    wide = _weighted(picture.astype(np.int32), _lanczos(columns, width), axis=1)
    tall = _weighted(wide, _lanczos(rows, height), axis=0)
    return ((tall + (1 << (2 * FIXED - 1))) >> (2 * FIXED)).clip(0, 255).astype(np.uint8)


def resize_area(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    """INTER_AREA of uint8 [H, W, C] to [height, width, C]; an axis that grows turns both into a kind of linear ones."""
    rows, columns = picture.shape[:2]
    if width > columns or height > rows:
        return _apply_linear(picture, _linear(columns, width, False, area=True), _linear(rows, height, True, area=True))
    if columns % width == 0 and rows % height == 0:
        return _block_means(picture, columns // width, rows // height)
    wide = _weighted(picture.astype(np.float32), _area(columns, width), axis=1)
    tall = _weighted(wide, _area(rows, height), axis=0)
    return tall.round().clip(0, 255).astype(np.uint8)


def _block_means(picture: np.ndarray, across: int, down: int) -> np.ndarray:
    rows, columns, channels = picture.shape
    blocks = picture.reshape(rows // down, down, columns // across, across, channels)
    sums = blocks.sum(axis=(1, 3), dtype=np.int32)
    if across == down == 2:
        return ((sums + 2) >> 2).astype(np.uint8)
    return (sums.astype(np.float32) * np.float32(1 / (across * down))).round().astype(np.uint8)


def _apply_linear(picture: np.ndarray, across: Taps, down: Taps) -> np.ndarray:
    wide = _weighted(picture.astype(np.int32), across, axis=1) >> 4
    (upper, lower), (first, second) = down[0].T, down[1].T[:, :, None, None]
    tall = (first * wide[upper] >> 16) + (second * wide[lower] >> 16)
    return ((tall + 2) >> 2).clip(0, 255).astype(np.uint8)


def _weighted(values: np.ndarray, taps: Taps, axis: int) -> np.ndarray:
    """Sums of weighted rows (axis 0) or columns (axis 1), in the type of the values."""
    shape = (-1, 1, 1) if axis == 0 else (1, -1, 1)
    total = 0
    for indices, weights in zip(taps[0].T, taps[1].T, strict=True):
        total = total + values.take(indices, axis=axis) * weights.astype(values.dtype).reshape(shape)
    return total


def _scale(size: int, outputs: int) -> float:
    return 1 / (outputs / size)  # as OpenCV rounds it, which decides between two pixels at times


def _positions(size: int, outputs: int) -> tuple[np.ndarray, np.ndarray]:
    """Source pixel left of each output, and the fraction of the way to the next."""
    exact = ((np.arange(outputs) + 0.5) * _scale(size, outputs) - 0.5).astype(np.float32)
    left = np.floor(exact).astype(np.int64)
    return left, exact - left.astype(np.float32)


def _fixed(weights: np.ndarray) -> np.ndarray:
    return (weights.astype(np.float32) * np.float32(1 << FIXED)).round().astype(np.int32)


def _linear(size: int, outputs: int, down: bool, area: bool = False) -> Taps:
    if area:
        left = np.floor(np.arange(outputs) * _scale(size, outputs)).astype(np.int64)
        part = ((np.arange(outputs) + 1) - (left + 1) * (outputs / size)).astype(np.float32)
        part = np.where(part <= 0, np.float32(0), part - np.floor(part))
    else:
        left, part = _positions(size, outputs)
    if not down:  # rows outside the picture keep their two weights, columns do not
        part = np.where((left < 0) | (left >= size - 1), np.float32(0), part)
    indices = left[:, None] + np.arange(2)
    return indices.clip(0, size - 1), _fixed(np.stack([1 - part, part], axis=1))


def _cubic(size: int, outputs: int) -> Taps:
    """Keys' kernel with a = -0.75, in float32 as OpenCV has it."""
    left, part = _positions(size, outputs)
    a, one = np.float32(-0.75), np.float32(1)
    far, rest = part + one, one - part
    first = ((a * far - 5 * a) * far + 8 * a) * far - 4 * a
    second = ((a + 2) * part - (a + 3)) * part * part + one
    third = ((a + 2) * rest - (a + 3)) * rest * rest + one
    indices = left[:, None] + np.arange(-1, 3)
    return indices.clip(0, size - 1), np.stack([first, second, third, one - first - second - third], axis=1)


def _lanczos(size: int, outputs: int) -> Taps:
    left, part = _positions(size, outputs)
    offsets = np.arange(8)
    distances = part[:, None] + np.float32(3) - offsets.astype(np.float32)
    angle = -distances[:, :1].astype(np.float64) * math.pi * 0.25
    waves = TURNS[0] * np.sin(angle) + TURNS[1] * np.cos(angle)
    squares = (distances.astype(np.float64) * math.pi * 0.25) ** 2
    here = np.abs(distances) < 1e-6
    weights = np.where(here, 1e30, waves / np.where(here, 1, squares)).astype(np.float32)
    total = np.float32(0)
    for column in weights.T:
        total = total + column
    weights = weights * (np.float32(1) / total)[:, None]
    return (left[:, None] + offsets - 3).clip(0, size - 1), _fixed(weights)


def _area(size: int, outputs: int) -> Taps:
    """Each output is the mean of the source pixels that it covers, the outer ones in part."""
    scale = _scale(size, outputs)
    taps = math.ceil(scale) + 1
    starts = np.arange(outputs) * scale
    ends = starts + scale
    cell = np.minimum(scale, size - starts)
    indices = np.floor(starts).astype(np.int64)[:, None] + np.arange(taps)
    covered = np.minimum(ends[:, None], indices + 1) - np.maximum(starts[:, None], indices)
    weights = np.where(covered > 1e-3, covered, 0) / cell[:, None]
    return indices.clip(max=size - 1), weights.astype(np.float32)
