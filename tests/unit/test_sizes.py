"""Sizes of the published pipelines, and the encoder's against transformers' own."""

from __future__ import annotations

import random

import pytest
from sentences import one_sentence
from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize

from systems.common.errors import InputError
from systems.common.sizes import PUBLISHED_SIZES, output_size
from systems.qwen2vl_flux.preprocess import encoder_size

FACTOR = 28
ODD_SIZES = [
    (1, 28), (28, 1), (1, 200), (200, 1), (1, 1), (2, 399), (27, 27), (14, 14), (42, 42), (13, 29),
    (4000, 30), (20, 4000), (4000, 20), (301, 197), (512, 512), (8000, 6000), (1023, 1025), (28, 5600),
]  # fmt: skip


def sizes() -> list[tuple[int, int]]:
    """500 seeded sizes from icons to posters, strips up to 200:1 among them."""
    dice = random.Random(0)
    made = []
    for _ in range(500):
        height = round(2 ** dice.uniform(0, 12))
        width = max(1, round(height * 2 ** dice.uniform(-7.6, 7.6)))
        if max(height, width) <= 200 * min(height, width):
            made.append((height, width))
    return made


@pytest.mark.parametrize("tokens", [4, 64, 256, 512, 1000])
def test_encoder_size_is_transformers_own(tokens):
    pixels = tokens * FACTOR**2
    compared = 0
    for height, width in [*ODD_SIZES, *sizes()]:
        expected = smart_resize(height, width, FACTOR, min_pixels=pixels, max_pixels=pixels)
        assert encoder_size(height, width, FACTOR, pixels) == expected, (height, width)
        compared += 1
    assert compared > 450


def test_encoder_size_is_a_grid_near_the_budget():
    for height, width in [*ODD_SIZES, *sizes()]:
        rows, columns = (edge // FACTOR for edge in encoder_size(height, width, FACTOR, 512 * FACTOR**2))
        assert rows >= 1 and columns >= 1
        assert encoder_size(height, width, FACTOR, 512 * FACTOR**2) == (rows * FACTOR, columns * FACTOR)
        assert rows * columns <= 512 + rows + columns + 1


@pytest.mark.parametrize("height, width", [(1, 201), (201, 1), (20, 4001), (8000, 39)])
def test_longer_strips_are_refused(height, width):
    with pytest.raises(InputError) as raised:
        encoder_size(height, width, FACTOR, 512 * FACTOR**2)
    sentence = one_sentence(raised.value)
    assert f"{width}x{height} pixels" in sentence and "200:1" in sentence and "crop it or pad it" in sentence
    with pytest.raises(ValueError):
        smart_resize(height, width, FACTOR)


def test_published_sizes():
    published = {
        "1:1": (1024, 1024),
        "16:9": (1344, 768),
        "9:16": (768, 1344),
        "2.4:1": (1536, 640),
        "3:4": (896, 1152),
        "4:3": (1152, 896),
    }
    assert published == PUBLISHED_SIZES
    for name, size in published.items():
        assert output_size(name) == size


@pytest.mark.parametrize("side", [64, 128, 500, 1024, 2048])
def test_other_sides_keep_the_shape(side):
    for name, (width, height) in PUBLISHED_SIZES.items():
        made = output_size(name, side)
        assert all(edge % 16 == 0 and edge >= 16 for edge in made)
        assert abs(made[0] - width * side / 1024) <= 8 and abs(made[1] - height * side / 1024) <= 8
