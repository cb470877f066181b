"""Tokens of two pictures as one context."""

from __future__ import annotations

import pytest
import torch
from sentences import one_sentence

from systems.common.errors import InputError
from systems.qwen2vl_flux.focus import apply_focus
from systems.qwen2vl_flux.tokens import ImageTokens, concat_tokens


def tokens_of(pictures: int, count: int, checkpoint: str = "any", weights: float | None = None) -> ImageTokens:
    made = torch.rand(pictures, count, 3, generator=torch.Generator().manual_seed(count))
    weighed = None if weights is None else torch.full((pictures, count), weights)
    return ImageTokens(made, (1, count), torch.zeros(pictures, 28, 28 * count, 3), checkpoint, weighed)


def test_one_after_the_other() -> None:
    one, other = tokens_of(2, 3), tokens_of(2, 5)
    both = concat_tokens(one, other)
    assert torch.equal(both.embeddings[:, :3], one.embeddings) and torch.equal(both.embeddings[:, 3:], other.embeddings)
    assert both.weights is None and both.count == 8 and not both.is_whole


@pytest.mark.parametrize("counts", [(1, 3), (3, 1)])
def test_a_single_picture_joins_each_of_a_batch(counts: tuple[int, int]) -> None:
    both = concat_tokens(tokens_of(counts[0], 2), tokens_of(counts[1], 4))
    assert both.embeddings.shape == (3, 6, 3)


def test_weights_are_kept() -> None:
    assert concat_tokens(tokens_of(1, 2, weights=0.5), tokens_of(1, 1)).weights.tolist() == [[0.5, 0.5, 1]]
    assert concat_tokens(tokens_of(1, 1), tokens_of(2, 1, weights=0.25)).weights.tolist() == [[1, 0.25]] * 2


def test_no_focus_afterwards_even_if_the_number_fits() -> None:
    """Two of three tokens and one more are as many as the grid had."""
    thinned = apply_focus(tokens_of(1, 3), torch.tensor([[[1.0, 0.0, 1.0]]]), "drop")
    both = concat_tokens(thinned, tokens_of(1, 1))
    assert both.count == 3
    with pytest.raises(InputError, match="or joined") as raised:
        apply_focus(both, torch.ones(1, 1, 3), "scale")
    one_sentence(raised.value)


@pytest.mark.parametrize(
    "one, other, said",
    [
        (tokens_of(1, 2), tokens_of(1, 2, "another"), "use one Load Qwen2VL Encoder for both"),
        (tokens_of(2, 2), tokens_of(3, 2), "2 and 3 images"),
    ],
)
def test_what_does_not_fit(one: ImageTokens, other: ImageTokens, said: str) -> None:
    with pytest.raises(InputError, match=said) as raised:
        concat_tokens(one, other)
    one_sentence(raised.value)
