"""What an image of the embedded checkpoint's world shows, by classical vision: nothing is trained, nothing random.

The ground is that of the world which fits most of the image. Every other pixel is a mixture of the ground and an
object's colour; pixels of one colour that hang together are an object, and its kind is that of the ideal silhouette
which covers it best.
"""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage

from ..world.scenes import (
    BACKGROUNDS,
    COLOURS,
    FILL_PERIOD,
    KINDS,
    MOST_OBJECTS,
    PATTERNS,
    RADII,
    STRIPE,
    UNIT,
    Layout,
    Scenes,
    cells,
    coverage,
    render,
)

# The overlap (intersection over union) with a silhouette from which an object may be of its kind, chosen by looking: a
# blob is nearer to a circle than to a plus. Of several kinds it is that which is nearest to perfect from there.
LEAST_FIT = {"circle": 0.84, "square": 0.82, "triangle": 0.8, "plus": 0.75}
# The area of the smallest object, as a fraction of the smallest that a layout of the image's size has; what is smaller
# is a speck.
LEAST_AREA = 0.4
# The area of the smallest piece that may be part of an object, as a fraction of the smallest object's.
CRUMB = 0.2
# The distance of centres, as a fraction of a cell's shorter side, within which pieces are of one object.
SAME = 0.55
# The area, as a fraction of an object's, below which what lies on it in another colour and is of no kind is part of it:
# where red and white stripes run into each other, they are pink.
STAIN = 0.5
# The silhouettes tried: radii relative to that with the object's area, and radians. Larger ones for white stripes on
# white, which leave less of the object to be seen.
SIZES, TURNS = (0.94, 1.0, 1.06, 1.13, 1.2), (-0.1, 0.0, 0.1)
# The margin that is looked at around an object, as a fraction of the square root of its area.
MARGIN = 0.35
# The pixels of an object's side to which large ones are reduced before they are compared with silhouettes.
TRIED_AT = 32

# The distance in RGB from a ground at which a pixel counts as covered: being still farther off says no more.
COVERED = 0.25
# The most deviation of a whole image in each channel when its ground is looked for.
TINT = 0.06
# The distance in RGB from the mixtures of a ground's two shades within which a pixel is ground.
BARE = 0.12
# The distance in RGB below which two colours cannot be told apart in a mixture.
DISTINCT = 0.15
# The distance in RGB from the stripes' white within which a pixel may be one of their white.
PALE = 0.25
# The fraction of an object's inside that is nearer to the stripes' white than to its colour, from which it is striped.
LEAST_WHITE = 0.2
# The half of the height of an object's stripes as a fraction of FILL_PERIOD, as the scenes are drawn.
STRIPE_HALF = 0.22

# The objects' colours, and last the white of their stripes.
INKS = np.array([*COLOURS.values(), [STRIPE * 255] * 3], np.float32) / 255


@dataclass(frozen=True)
class Thing:
    """An object in an image. kind, colour: indices, kind None when it is none of KINDS; centre: x and y from the top
    left, and area: both in pixels; fit: overlap with the best silhouette, 0..1."""

    kind: int | None
    colour: int
    striped: bool
    centre: tuple[float, float]
    area: int
    fit: float


@dataclass(frozen=True)
class Verdict:
    """background, pattern: indices. things: the largest first."""

    background: int
    pattern: int
    things: tuple[Thing, ...]


def judge(picture: torch.Tensor, scale: float = UNIT) -> Verdict:
    """What an image [H, W, 3] in 0..1 shows, where `scale` pixels are a length of 1 of the world."""
    values = picture.numpy()
    background, pattern, ground, shades = _ground(values, scale)
    canvas = values.shape[1] / scale, values.shape[0] / scale
    side = scale * min(extent / number for extent, number in zip(canvas, cells(canvas), strict=True))
    least = LEAST_AREA * float(_silhouettes()[0].min()) * (RADII[0] * side) ** 2
    things = [
        _thing(values, part, colour, scale)
        for colour, mask in enumerate(_colours(values, ground, shades, scale))
        for part in _parts(mask, least, SAME * side)
    ]
    things.sort(key=lambda thing: -thing.area)
    return Verdict(background, pattern, tuple(thing for thing in things if not _is_stain(thing, things, SAME * side)))


# ---- the ground ----------------------------------------------------------------------------------------------------


def _ground(values: np.ndarray, scale: float) -> tuple[int, int, np.ndarray, np.ndarray]:
    """background and pattern; the ground alone [H, W, 3] and its two shades [2, 3] as this image has them."""
    drawn, nominal = _grounds(*values.shape[:2], scale)
    step = max(1, min(values.shape[:2]) // 64)
    few, few_drawn = values[::step, ::step], drawn[:, ::step, ::step]

    def misfit(background: int, pattern: int) -> float:
        away = few - _drawn(nominal[background], few_drawn[pattern])
        away -= np.median(away, axis=(0, 1)).clip(-TINT, TINT)
        return np.minimum(_length(away), COVERED).mean()

    every = itertools.product(range(len(BACKGROUNDS)), range(len(PATTERNS)))
    background, pattern = min(every, key=lambda ground: misfit(*ground))
    bare = _length(values - _drawn(nominal[background], drawn[pattern])) < COVERED
    shades = nominal[background].copy()
    for each, where in enumerate((drawn[pattern] < 0.1, drawn[pattern] > 0.9)):
        if (where & bare).any():
            shades[each] = np.median(values[where & bare], axis=0)
    return background, pattern, _drawn(shades, drawn[pattern]), shades


@functools.lru_cache(maxsize=8)
def _grounds(height: int, width: int, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """How much of the second shade each pattern has where, [3, H, W] in 0..1, and both shades of each background
    [6, 2, 3]."""
    background, pattern = torch.cartesian_prod(torch.arange(len(BACKGROUNDS)), torch.arange(len(PATTERNS))).T
    none = torch.zeros(len(background), MOST_OBJECTS)
    empty = Scenes(torch.zeros(len(background)), none.long(), none.long(), none.bool(), background, pattern)
    layout = Layout(none[..., None].expand(-1, -1, 2), none, none, (width / scale, height / scale))
    pictures, _ = render(empty, layout, height, width)
    grounds = pictures.movedim(1, -1).reshape(len(BACKGROUNDS), len(PATTERNS), height, width, 3).numpy()
    away = _length(grounds[0] - grounds[0, 0])
    pattern, row, column = np.unravel_index(away.argmax(), away.shape)
    shades = np.stack([grounds[:, 0, row, column], grounds[:, pattern, row, column]], axis=1)
    return away / away.max(), shades


def _drawn(shades: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    return shades[0] + drawn[..., None] * (shades[1] - shades[0])


# ---- what covers it ------------------------------------------------------------------------------------------------


def _colours(values: np.ndarray, ground: np.ndarray, shades: np.ndarray, scale: float) -> np.ndarray:
    """Which pixels are of each colour [8, H, W], the white stripes of an object counted as of its colour.

    A pixel is taken for a mixture of the ground and an ink, or of a colour and white, and is of the larger share.
    """
    *colours, white = INKS
    pairs = [*((ground, ink) for ink in INKS), *((colour, white) for colour in colours)]
    residuals, shares = zip(*(_between(values, *pair) for pair in pairs), strict=True)
    nearest = np.argmin(residuals, axis=0)
    most = np.take_along_axis(np.stack(shares), nearest[None], axis=0)[0] > 0.5
    bare = _between(values, *shades)[0] < BARE
    number = len(colours)
    coloured = np.stack([np.where(most, nearest == each, nearest == number + 1 + each) for each in range(number)])
    coloured &= ~bare
    striped = most & (nearest >= number) & ~bare
    away, (row, column) = ndimage.distance_transform_edt(~coloured.any(0), return_indices=True)
    coloured |= coloured[:, row, column] & striped & (away <= FILL_PERIOD / 2 * scale)
    # on white the stripes do not show, so that what they part is joined upright, which leaves solid objects as they are
    stripe = np.ones((1, 2 * round(FILL_PERIOD / 4 * scale) + 3, 1), bool)
    return coloured | ndimage.binary_closing(coloured, stripe)


def _between(values: np.ndarray, start: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How far colours are from the mixtures of start and end, and the share of end 0..1 in the nearest of these."""
    way = np.broadcast_to(end - start, values.shape)
    squared = np.einsum("...c,...c", way, way)
    share = np.einsum("...c,...c", values - start, way) / np.maximum(squared, DISTINCT**2)
    share = np.where(squared > DISTINCT**2, share, 0).clip(0, 1)
    return _length(values - start - share[..., None] * way), share


def _parts(mask: np.ndarray, least: float, apart: float) -> list[np.ndarray]:
    """The objects [H, W] among the pixels of a colour: of at least that area, from pieces nearer than `apart`."""
    labels, number = ndimage.label(ndimage.binary_opening(mask))
    pieces = [piece for piece in (labels == each for each in range(1, number + 1)) if piece.sum() >= CRUMB * least]
    whole: list[np.ndarray] = []
    for piece in sorted(pieces, key=np.sum, reverse=True):
        centre = ndimage.center_of_mass(piece)
        near = (math.dist(centre, ndimage.center_of_mass(other)) < apart for other in whole)
        found = next((index for index, is_near in enumerate(near) if is_near), None)
        if found is None:
            whole.append(piece)
        else:
            whole[found] = whole[found] | piece
    return [piece for piece in whole if piece.sum() >= least]


def _is_stain(thing: Thing, things: list[Thing], apart: float) -> bool:
    return thing.kind is None and any(
        thing.area < STAIN * other.area and math.dist(thing.centre, other.centre) < apart for other in things
    )


def _length(values: np.ndarray) -> np.ndarray:
    return np.sqrt(np.einsum("...c,...c", values, values))


# ---- what it is ----------------------------------------------------------------------------------------------------


def _thing(values: np.ndarray, part: np.ndarray, colour: int, scale: float) -> Thing:
    from_white = _length(values - INKS[-1])
    white = from_white < _length(values - INKS[colour])
    striped = bool(white[part].mean() > LEAST_WHITE)
    kind, fit = _kind(part, white & (from_white < PALE) & striped, scale)
    y, x = ndimage.center_of_mass(part)
    return Thing(kind, colour, striped, (float(x) + 0.5, float(y) + 0.5), int(part.sum()), fit)


def _kind(part: np.ndarray, white: np.ndarray, scale: float) -> tuple[int | None, float]:
    """The kind whose silhouette covers a part best, None when none does well, and how well, 0..1. White where the
    silhouette has stripes counts as covered."""
    extent = part.sum() ** 0.5
    step = max(1, round(extent / TRIED_AT))
    scale /= step
    margin = round(extent * MARGIN)
    around = tuple(slice(max(0, at.min() - margin), at.max() + margin + 1) for at in part.nonzero())
    masks = torch.from_numpy(np.stack([part[around], white[around]])).float()
    there, pale = torch.nn.functional.avg_pool2d(masks, step)
    areas, offsets = _silhouettes()
    tried = torch.cartesian_prod(torch.arange(float(len(KINDS))), torch.tensor(SIZES), torch.tensor(TURNS))
    kind, size, turn = tried.T.reshape(3, -1, MOST_OBJECTS)
    kind = kind.long()
    radius = (there.sum() / areas[kind]).sqrt() / scale * size
    height, width = there.shape
    y, x = ((there * at).sum() / there.sum() for at in (torch.arange(height)[:, None] + 0.5, torch.arange(width) + 0.5))
    layout = Layout(
        torch.stack([x, y]) / scale - offsets[kind] * radius[..., None], radius, turn, (width / scale, height / scale)
    )
    ideal, along = coverage(_objects(kind), layout, height, width)
    stripes = ((along / FILL_PERIOD) % 1 - 0.5).abs() < STRIPE_HALF
    there = torch.where(stripes & (pale > 0.5), ideal, there)
    fits = torch.minimum(ideal, there).sum((-2, -1)) / torch.maximum(ideal, there).sum((-2, -1))
    least = torch.tensor([LEAST_FIT[name] for name in KINDS])[kind]
    likeness = ((fits - least) / (1 - least)).flatten()
    best = int(likeness.argmax())
    return int(kind.flatten()[best]) if likeness[best] >= 0 else None, float(fits.flatten()[best])


@functools.cache
def _silhouettes() -> tuple[torch.Tensor, torch.Tensor]:
    """Of each kind at a radius of 1: its area [4], and where its centre of mass lies from its centre [4, 2]."""
    kind, pixels = torch.arange(len(KINDS))[:, None].expand(-1, MOST_OBJECTS), 200
    one = torch.ones_like(kind).float()
    layout = Layout(one[..., None].expand(-1, -1, 2), one, torch.zeros_like(one), (2.0, 2.0))
    shapes = coverage(_objects(kind), layout, pixels, pixels)[0][:, 0]
    area = shapes.sum((1, 2))
    at = (torch.arange(pixels) + 0.5) * 2 / pixels - 1
    offsets = torch.stack([(shapes * at).sum((1, 2)), (shapes * at[:, None]).sum((1, 2))], dim=1) / area[:, None]
    return area * (2 / pixels) ** 2, offsets


def _objects(kind: torch.Tensor) -> Scenes:
    """Scenes of three objects of the kinds [B, 3], of which only the silhouettes matter."""
    any_ink, any_ground = torch.zeros_like(kind), torch.zeros_like(kind[:, 0])
    return Scenes(torch.full_like(any_ground, MOST_OBJECTS), kind, any_ink, any_ink.bool(), any_ground, any_ground)
