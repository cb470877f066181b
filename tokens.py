"""What travels between the encoder, the focus and the connector."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch


@dataclass(frozen=True, eq=False)
class ImageTokens:
    """Tokens of one picture, or of a batch of pictures of one size (the graph type ``QWEN2VL_TOKENS``).

    embeddings: [B, T, D] float, the encoder's last hidden states at the image tokens, row by row.
    grid: (rows, columns) of the token grid; T = rows * columns until tokens are dropped.
    picture: [B, H, W, C] in 0..1, the IMAGE they were made from, sharing its memory.
    checkpoint: name of the checkpoint that made them.
    weights: [B, T] in 0..1, how much FLUX's attention makes of each token; None where it is 1 for all.
    """

    embeddings: torch.Tensor
    grid: tuple[int, int]
    picture: torch.Tensor
    checkpoint: str
    weights: torch.Tensor | None = None

    @property
    def count(self) -> int:
        """Tokens of each picture."""
        return self.embeddings.shape[1]

    @property
    def is_whole(self) -> bool:
        """True while every token of the grid is present."""
        return self.count == self.grid[0] * self.grid[1]

    def only(self, kept: slice | torch.Tensor) -> ImageTokens:
        """Some tokens of each picture, by a slice or by a mask [T]; no longer a whole grid when others are left out."""
        weights = None if self.weights is None else self.weights[:, kept]
        return replace(self, embeddings=self.embeddings[:, kept], weights=weights)
