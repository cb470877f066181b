"""Batches of a data set: images cropped to buckets, encoded by the frozen autoencoder, in an order that step, part
and rank alone decide."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import lru_cache

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from systems.common.errors import InputError
from systems.qwen2vl_flux.checkpoint import Qwen2VLConfig
from systems.qwen2vl_flux.focus import focus_map
from systems.qwen2vl_flux.preprocess import DEFAULT_BUDGET, encoder_size, patches_of

from ..buckets import Size, bucket_of, fitted
from ..generators import generator_for
from ..images import image_size, open_image
from .autoencoder import Autoencoder
from .batch import Batch, Patches
from .dots import fitted_dots
from .rows import Row
from .texts import T5

# The published number of image tokens beside a prompt; without one they are 512, where the encoder's folder names no
# size.
BUDGET_BESIDE_PROMPT = 256
# The threads that read images ahead.
READERS = 4


@dataclass(frozen=True)
class Frozen:
    """What makes batches out of rows and never trains. pooled: [1, P]; t5 is None where no row has a prompt."""

    encoder: Qwen2VLConfig
    autoencoder: Autoencoder
    pooled: Tensor
    t5: T5 | None
    device: torch.device


@dataclass(frozen=True)
class Kind:
    """What the rows of a batch have in common: the sizes of their images, and whether they have a prompt."""

    image: Size
    reference: Size
    has_prompt: bool


@dataclass(frozen=True, eq=False)
class Loaded:
    """One row. image: [3, H, W] in 0..1; patches: [1, N, P] of a grid of rows x columns; weights: [T] or None."""

    image: Tensor
    patches: Tensor
    grid: tuple[int, int]
    weights: Tensor | None


class RowBatches:
    """Batches of rows; each epoch shuffles them anew, and no row is left out: short batches are filled up with others
    of their kind.

    Looks at the head of every image at once; raises InputError for those that cannot be read, and for a focus that
    leaves nothing of its image.
    """

    def __init__(
        self, rows: Sequence[Row], frozen: Frozen, *, side: int, size: int, seed: int, parts: int, processes: int
    ):
        """side: longest edge of the buckets, in pixels; size: rows of a batch; parts, processes: how many of each."""
        self.rows, self.frozen, self.side = rows, frozen, side
        self.size, self.seed, self.parts, self.processes = size, seed, parts, processes
        self._pool = ThreadPoolExecutor(READERS)
        self._kinds = list(self._pool.map(self._kind, rows))
        self.kinds: dict[Kind, list[int]] = {}
        for number, kind in enumerate(self._kinds):
            self.kinds.setdefault(kind, []).append(number)
        self._ahead: dict[int, list[Future[Loaded]]] = {}
        self._order = lru_cache(maxsize=2)(self._shuffled)

    @property
    def fingerprint(self) -> str:
        """Changes with the rows, their order and the sizes of their images."""
        digest = hashlib.sha256()
        for kind, numbers in self.kinds.items():
            digest.update(json.dumps([asdict(kind), numbers]).encode())
        for row in self.rows:
            dots = [asdict(dot) for dot in row.focus]
            digest.update(json.dumps([row.image.name, row.reference.name, row.prompt, dots]).encode())
        return digest.hexdigest()[:16]

    def batch(self, step: int, part: int, rank: int) -> Batch:
        index = (step * self.parts + part) * self.processes + rank
        loading = self._ahead.pop(index, None) or self._read(index)
        self._ahead = {index + self.processes: self._read(index + self.processes)}
        return self._batch(self.numbers(index), [future.result() for future in loading])

    def of(self, number: int) -> Batch:
        """A batch of one row."""
        return self._batch([number], [self._load(number)])

    def numbers(self, index: int) -> list[int]:
        """Which rows are in a batch; batches are counted over all steps, parts and ranks."""
        count = sum(-(-len(numbers) // self.size) for numbers in self.kinds.values())
        epoch, place = divmod(index, count)
        return self._order(epoch)[place]

    def _read(self, index: int) -> list[Future[Loaded]]:
        return [self._pool.submit(self._load, number) for number in self.numbers(index)]

    def _shuffled(self, epoch: int) -> list[list[int]]:
        """The batches of an epoch, as numbers of rows."""
        generator = generator_for(self.seed, epoch, 0, 1)  # noise never has a fourth number
        listed = []
        for numbers in self.kinds.values():
            order = [numbers[place] for place in torch.randperm(len(numbers), generator=generator).tolist()]
            whole = -(-len(order) // self.size) * self.size
            filled = [order[place % len(order)] for place in range(whole)]
            listed += [filled[first : first + self.size] for first in range(0, whole, self.size)]
        return [listed[place] for place in torch.randperm(len(listed), generator=generator).tolist()]

    def _kind(self, row: Row) -> Kind:
        image = bucket_of(*image_size(row.image, row.place), self.side)
        original = image_size(row.reference, row.place)
        kind = Kind(image, bucket_of(*original, self.side), bool(row.prompt))
        if row.focus and not (self._weights(row, original, kind) > 0).any():
            raise InputError(
                f"The focus of {row.place} leaves nothing of {row.reference} as it is cropped to "
                f"{kind.reference[0]}x{kind.reference[1]}; move or enlarge its dots."
            )
        return kind

    def _budget(self, has_prompt: bool) -> int:
        return BUDGET_BESIDE_PROMPT if has_prompt and self.frozen.encoder.image_pixels is None else 0

    def _weights(self, row: Row, original: Size, kind: Kind) -> Tensor:
        """Focus weight of each token [T] of the reference as it is cropped."""
        width, height = kind.reference
        factor = self.frozen.encoder.factor
        budget = self._budget(kind.has_prompt) or DEFAULT_BUDGET
        pixels = self.frozen.encoder.image_pixels or budget * factor**2
        rows, columns = (edge // factor for edge in encoder_size(height, width, factor, pixels))
        return focus_map(fitted_dots(row.focus, *original, kind.reference), rows, columns).flatten()

    def _load(self, number: int) -> Loaded:
        row, kind = self.rows[number], self._kinds[number]
        image = open_image(row.image, row.place)
        reference = image if row.reference == row.image else open_image(row.reference, row.place)
        pixels = _values(fitted(image, kind.image)).movedim(-1, 0)
        cropped = _values(fitted(reference, kind.reference))
        patches, grid = patches_of(cropped, self.frozen.encoder, self._budget(kind.has_prompt))
        return Loaded(pixels, patches, grid, self._weights(row, reference.size, kind) if row.focus else None)

    def _batch(self, numbers: Sequence[int], loaded: Sequence[Loaded]) -> Batch:
        frozen = self.frozen
        prompts = [self.rows[number].prompt for number in numbers]
        latents = [frozen.autoencoder.encode(each.image[None].to(frozen.device)) for each in loaded]
        batch = Batch(
            latents=torch.cat(latents),
            tokens=Patches(torch.cat([each.patches for each in loaded]), *loaded[0].grid),
            weights=_stacked([each.weights for each in loaded], frozen.encoder.vision.merge, loaded[0].grid),
            prompt=frozen.t5(prompts) if prompts[0] else None,
            pooled=frozen.pooled.expand(len(prompts), -1),
        )
        return batch.to(frozen.device)


def _values(picture: Image.Image) -> Tensor:
    """[H, W, 3] in 0..1."""
    return torch.from_numpy(np.array(picture)).float() / 255


def _stacked(weights: list[Tensor | None], merge: int, grid: tuple[int, int]) -> Tensor | None:
    """Focus weights [B, T]; 1 for images without a focus, None where none has one."""
    if all(each is None for each in weights):
        return None
    whole = torch.ones(grid[0] * grid[1] // merge**2)
    return torch.stack([whole if each is None else each for each in weights])
