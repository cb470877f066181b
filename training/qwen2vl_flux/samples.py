"""Sheets of images that show how a run goes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from ..generators import generator_for
from ..images import open_image
from .autoencoder import Autoencoder
from .networks import Networks
from .row_batches import RowBatches
from .sampling import sample_latents

STEPS = 20
LINES, VARIATIONS = 4, 3
GAP, MOST_EDGE = 8, 384


class Samples:
    """Writes step-<n>.png: a line for each of the first rows, its reference first and then variations of it, from the
    same noise on every sheet."""

    def __init__(self, batches: RowBatches, autoencoder: Autoencoder, folder: Path, guidance: float):
        self.batches, self.autoencoder = batches, autoencoder
        self.folder, self.guidance = folder, guidance

    def __call__(self, networks: Networks, step: int) -> None:
        lines = [self._line(networks, number) for number in range(min(LINES, len(self.batches.rows)))]
        contact_sheet(lines).save(self.folder / f"step-{step:06d}.png")

    def _line(self, networks: Networks, number: int) -> list[Image.Image]:
        row, batch = self.batches.rows[number], self.batches.of(number)
        pictures = [open_image(row.reference, row.place)]
        for seed in range(VARIATIONS):
            noise = torch.randn(batch.latents.shape, generator=generator_for(seed)).to(batch.latents)
            latents = sample_latents(networks, batch, noise, STEPS, self.guidance)
            pictures.append(as_picture(self.autoencoder.decode(latents)[0]))
        return pictures


def as_picture(values: Tensor) -> Image.Image:
    """[3, H, W] in 0..1 as an image."""
    return Image.fromarray((values.movedim(0, -1) * 255).round().byte().cpu().numpy())


def contact_sheet(lines: Sequence[Sequence[Image.Image]]) -> Image.Image:
    """Images in lines and columns, each scaled down to fit its cell and never up."""
    edge = min(MOST_EDGE, max(max(picture.size) for line in lines for picture in line[1:] or line))
    cell = edge + GAP
    sheet = Image.new("RGB", (max(map(len, lines)) * cell + GAP, len(lines) * cell + GAP), "white")
    for y, line in enumerate(lines):
        for x, picture in enumerate(line):
            small = picture.copy()
            small.thumbnail((edge, edge), Image.Resampling.LANCZOS)
            sheet.paste(
                small, (GAP + x * cell + (edge - small.width) // 2, GAP + y * cell + (edge - small.height) // 2)
            )
    return sheet
