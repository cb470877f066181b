"""What travels between the encoder, the focus and the connector."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True, eq=False)
class ImageTokens:
    """Tokens of one picture, or of a batch of pictures of one size (the graph type ``QWEN2VL_TOKENS``).

    embeddings: [B, T, D] float, the encoder's last hidden states at the image tokens, row by row.
    grid: (rows, columns) of the token grid; T = rows * columns until tokens are dropped.
    image_size: (height, width) in pixels of the picture they were made from.
    checkpoint: name of the checkpoint that made them.
    """

    embeddings: torch.Tensor
    grid: tuple[int, int]
    image_size: tuple[int, int]
    checkpoint: str

    @property
    def is_whole(self) -> bool:
        """True while every token of the grid is present."""
        return self.embeddings.shape[1] == self.grid[0] * self.grid[1]
