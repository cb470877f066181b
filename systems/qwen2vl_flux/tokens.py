"""What travels between the encoder, the focus and the connector."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from ..common.errors import InputError


@dataclass(frozen=True, eq=False)
class ImageTokens:
    """Tokens of one picture, or of a batch of pictures of one size (the graph type ``QWEN2VL_TOKENS``).

    embeddings: [B, T, D] float, the encoder's last hidden states at the image tokens, row by row.
    grid: (rows, columns) of the token grid; T = rows * columns until tokens are dropped. (0, 0) once joined.
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

    def with_strength(self, strength: float) -> ImageTokens:
        """The same tokens with `strength` (0..1) times the weight they had; themselves at 1."""
        return self if strength == 1 else replace(self, weights=_weights(self) * strength)


def concat_tokens(one: ImageTokens, other: ImageTokens) -> ImageTokens:
    """The tokens of two pictures, those of `one` first; where one is a single picture it joins each of the other.

    Raises InputError for tokens of two checkpoints, and for batches that do not fit.
    """
    if one.checkpoint != other.checkpoint:
        raise InputError(
            f"The tokens were made by the checkpoints {one.checkpoint!r} and {other.checkpoint!r}; use one Load "
            "Qwen2VL Encoder for both."
        )
    counts = {len(one.embeddings), len(other.embeddings)}
    if len(counts - {1}) > 1:
        raise InputError(
            f"The tokens are of {len(one.embeddings)} and {len(other.embeddings)} images; join equal batches, or "
            "one image to a batch."
        )

    def both(values: torch.Tensor, more: torch.Tensor) -> torch.Tensor:
        more = more.to(values)
        return torch.cat([each.expand(max(counts), *each.shape[1:]) for each in (values, more)], dim=1)

    weights = None
    if one.weights is not None or other.weights is not None:
        weights = both(*(_weights(each) for each in (one, other)))
    return replace(one, embeddings=both(one.embeddings, other.embeddings), weights=weights, grid=(0, 0))


def _weights(tokens: ImageTokens) -> torch.Tensor:
    return tokens.embeddings.new_ones(tokens.embeddings.shape[:2]) if tokens.weights is None else tokens.weights
