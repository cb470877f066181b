"""Aspect buckets, and batches made of them."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from PIL import Image

from systems.common.errors import InputError
from systems.qwen2vl_flux.checkpoint import read_config
from systems.qwen2vl_flux.dots import Dot
from systems.qwen2vl_flux.focus import circle, focus_map
from training.buckets import ASPECTS, bucket_of, bucket_sizes, fitted
from training.qwen2vl_flux.autoencoder import read_autoencoder
from training.qwen2vl_flux.dots import fitted_dots
from training.qwen2vl_flux.row_batches import Frozen, RowBatches
from training.qwen2vl_flux.rows import Row
from training.qwen2vl_flux.texts import read_t5


def test_published_buckets():
    assert bucket_sizes() == {
        "16:9": (1024, 576),
        "2:1": (1024, 512),
        "2.35:1": (1024, 432),
        "1:1": (1024, 1024),
        "1:2": (512, 1024),
    }


@pytest.mark.parametrize("side", [16, 100, 128, 512, 1000])
def test_scaled_buckets(side):
    for name, size in bucket_sizes(side).items():
        assert max(size) == side // 16 * 16 and min(size) >= 16 and not any(edge % 16 for edge in size)
        assert min(size) == 16 or abs(size[0] / size[1] / ASPECTS[name] - 1) <= 8 / min(size)
    with pytest.raises(InputError, match="side of the buckets is 15"):
        bucket_sizes(15)


@pytest.mark.parametrize(
    "size, name",
    [((1920, 1080), "16:9"), ((500, 500), "1:1"), ((3000, 1000), "2.35:1"), ((1000, 500), "2:1"), ((90, 160), "1:2"),
     ((400, 300), "1:1"), ((30, 4000), "1:2"), ((1, 1), "1:1"), ((300, 400), "1:1")],
)  # fmt: skip
def test_nearest_bucket(size, name):
    assert bucket_of(*size) == bucket_sizes()[name]


def test_the_middle_is_kept():
    picture = Image.new("RGB", (300, 100), "black")
    picture.paste("white", (100, 0, 200, 100))
    assert all(low > 200 for low, _ in fitted(picture, (64, 64)).getextrema())


@pytest.mark.parametrize("size", [(300, 100), (100, 250), (128, 128)])
def test_dots_stay_on_their_place(size):
    """The map of dots on a crop is that part of the map on the whole picture."""
    dots, target = (Dot(0.45, 0.55, 0.3),), (64, 64)
    (dot,) = fitted_dots(dots, *size, target)
    edge = min(size)
    left, top = (size[0] - edge) // 2, (size[1] - edge) // 2
    whole = circle(dots[0], size[1], size[0])[top : top + edge, left : left + edge]
    assert torch.allclose(circle(dot, edge, edge), whole, atol=1e-6)
    if len(set(size)) > 1:
        assert not torch.allclose(circle(dots[0], edge, edge), whole, atol=1e-2)


# ---- batches ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def frozen(demo) -> Frozen:
    return Frozen(
        encoder=read_config(demo / "qwen2-vl"),
        autoencoder=read_autoencoder(demo),
        pooled=torch.ones(1, 4),
        t5=None,
        device=torch.device("cpu"),
    )


@pytest.fixture
def rows(tmp_path) -> list[Row]:
    """Seven square and two wide pictures, each of a colour of its own."""
    made = []
    for number in range(9):
        path = tmp_path / f"{number}.png"
        Image.new("RGB", (64, 64) if number < 7 else (128, 64), (number * 25, 100, 50)).save(path)
        made.append(Row(path, path, "", (), f"row {number}"))
    return made


def batches(rows, frozen, processes=1, seed=0) -> RowBatches:
    return RowBatches(rows, frozen, side=64, size=2, seed=seed, parts=2, processes=processes)


def seen(made: RowBatches, steps: range, processes: int = 1) -> list[list[int]]:
    return [
        made.numbers((step * 2 + part) * processes + rank)
        for step in steps
        for part in range(2)
        for rank in range(processes)
    ]


def test_every_picture_of_an_epoch(rows, frozen):
    """Seven of one kind and two of the other are 4 + 1 batches of two, one of which is filled up."""
    order = seen(batches(rows, frozen), range(5))
    for epoch in (order[:5], order[5:]):
        assert {number for numbers in epoch for number in numbers} == set(range(9))
        assert sum(map(len, epoch)) == 10
        assert all(len({number < 7 for number in numbers}) == 1 for numbers in epoch)
    assert order[:5] != order[5:]


def test_step_part_and_rank_decide(rows, frozen):
    made, again = batches(rows, frozen), batches(rows, frozen)
    places = [(step, part) for step in range(3) for part in range(2)]
    ahead = {place: made.batch(*place, 0) for place in places}
    for place in reversed(places):  # in another order, nothing read ahead fits
        other = again.batch(*place, 0)
        assert torch.equal(other.latents, ahead[place].latents)
        assert torch.equal(other.tokens.values, ahead[place].tokens.values)
    assert seen(batches(rows, frozen, seed=1), range(3)) != seen(made, range(3))
    two = batches(rows, frozen, processes=2)
    assert seen(two, range(2), 2) == seen(made, range(4))  # two processes share what one does in turns


def test_what_a_batch_holds(rows, frozen):
    made = batches(rows, frozen)
    for place in ((0, 0), (0, 1), (1, 0), (1, 1), (2, 0)):
        batch = made.batch(*place, 0)
        wide = batch.latents.shape[-1] > batch.latents.shape[-2]
        assert batch.latents.shape == ((2, 16, 4, 8) if wide else (2, 16, 8, 8))
        assert batch.weights is None and batch.prompt is None and torch.equal(batch.pooled, torch.ones(2, 4))
        rows_, columns = batch.tokens.rows, batch.tokens.columns
        assert batch.tokens.values.shape[:2] == (2, rows_ * columns) and (columns > rows_) == wide


def test_reference_and_focus(rows, frozen):
    """Tokens come from the reference, latents from the picture; the focus lies on the reference as it is cropped."""
    wide, square = rows[8], rows[0]
    guided = Row(square.image, wide.reference, "", (Dot(0.5, 0.5, 0.4),), "row 0")
    made = RowBatches([guided], frozen, side=64, size=2, seed=0, parts=1, processes=1)
    batch, plain = made.batch(0, 0, 0), batches([wide], frozen).of(0)
    assert torch.equal(batch.tokens.values[:1], plain.tokens.values)
    assert batch.latents.shape == (2, 16, 8, 8)
    grid = plain.tokens.rows // 2, plain.tokens.columns // 2
    (dot,) = fitted_dots(guided.focus, 128, 64, (64, 32))
    assert math.isclose(dot.x, 0.5) and torch.equal(batch.weights, focus_map([dot], *grid).flatten().expand(2, -1))


def test_prompts(rows, frozen, with_tokenizer):
    """T5's states of each prompt; rows without one never share a batch with them, and hear twice the image tokens where
    the encoder's folder names no number."""
    t5 = read_t5(with_tokenizer, torch.float32)
    encoder = replace(frozen.encoder, image_pixels=None)
    prompted = [replace(row, prompt=f"number {number}" if number % 2 else "") for number, row in enumerate(rows[:4])]
    made = batches(prompted, replace(frozen, t5=t5, encoder=encoder))
    for index in range(2):
        numbers, batch = made.numbers(index), made.batch(0, index, 0)
        assert len({number % 2 for number in numbers}) == 1
        tokens = batch.tokens.values.shape[1] / encoder.vision.merge**2
        if numbers[0] % 2:
            assert torch.equal(batch.prompt, t5([prompted[number].prompt for number in numbers]))
            assert 240 <= tokens <= 270
        else:
            assert batch.prompt is None and 490 <= tokens <= 530


def test_focus_on_what_is_cropped_away(tmp_path, frozen):
    path = tmp_path / "long.png"
    Image.new("RGB", (400, 40), "red").save(path)
    row = Row(path, path, "", (Dot(0.02, 0.5, 0.1),), "rows.csv line 2")
    with pytest.raises(
        InputError, match=r"^The focus of rows\.csv line 2 leaves nothing of .*long\.png as it is cropped"
    ):
        batches([row], frozen)


def test_fingerprint(rows, frozen):
    assert batches(rows, frozen).fingerprint == batches(rows, frozen, seed=1).fingerprint
    changed = [Row(rows[0].image, rows[0].reference, "", (Dot(0.5, 0.5),), rows[0].place), *rows[1:]]
    assert len({batches(each, frozen).fingerprint for each in (rows, rows[:-1], rows[::-1], changed)}) == 4
