"""GridDot's arithmetic, and what it says to text that is no dots."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
import torch
from sentences import one_sentence

from systems.common.errors import InputError
from systems.qwen2vl_flux.dots import MAX_DOTS, Dot, parse_dots
from systems.qwen2vl_flux.focus import MODES, apply_focus, at_image_size, focus_map, pool_mask
from systems.qwen2vl_flux.tokens import ImageTokens

GRIDS = [(16, 16), (19, 28), (28, 13), (1, 40), (1, 1)]


def published(x: float, y: float, r: float, rows: int, columns: int) -> np.ndarray:
    """create_attention_matrix of the published code, token by token."""
    matrix = np.zeros((rows, columns))
    for row in range(rows):
        for column in range(columns):
            distance = np.hypot(column - x * columns, row - y * rows)
            matrix[row, column] = np.clip(1 - distance / (r * min(rows, columns)), 0, 1)
    return matrix.astype(np.float32)


def dots_of(dice: random.Random, count: int, low: float = -1.0) -> list[Dot]:
    return [
        Dot(dice.random(), dice.random(), dice.uniform(0.05, 1.5), dice.uniform(low, 1) or 1.0) for _ in range(count)
    ]


@pytest.mark.parametrize("rows, columns", GRIDS)
def test_one_dot_is_the_published_circle(rows, columns):
    dice = random.Random(rows * columns)
    for _ in range(20):
        x, y, r = dice.random(), dice.random(), dice.uniform(0.05, 2)
        expected = published(x, y, r, rows, columns)
        assert np.abs(focus_map([Dot(x, y, r, 1.0)], rows, columns).numpy() - expected).max() <= 1e-7


@pytest.mark.parametrize("rows, columns", GRIDS)
def test_no_dots_change_nothing(rows, columns):
    ones = torch.ones(rows, columns)
    assert torch.equal(focus_map([], rows, columns), ones)
    assert torch.equal(focus_map([Dot(0.5, 0.5, 0.5, 0.0)], rows, columns), ones)


def test_several_dots_keep_the_larger_weight():
    dots = dots_of(random.Random(1), 5, low=0.1)
    expected = np.max([dot.w * published(dot.x, dot.y, dot.r, 19, 28) for dot in dots], axis=0)
    assert np.abs(focus_map(dots, 19, 28).numpy() - expected).max() <= 1e-6


def test_a_negative_dot_suppresses():
    dot = Dot(0.3, 0.6, 0.4, -0.7)
    circle = published(dot.x, dot.y, dot.r, 19, 28)
    assert np.abs(focus_map([dot], 19, 28).numpy() - (1 - 0.7 * circle)).max() <= 1e-6
    kept = Dot(0.4, 0.6, 0.5, 1.0)
    expected = published(kept.x, kept.y, kept.r, 19, 28) * (1 - 0.7 * circle)
    assert np.abs(focus_map([kept, dot], 19, 28).numpy() - expected).max() <= 1e-6
    assert focus_map([Dot(0.5, 0.5, 0.5, -1.0)], 20, 20)[10, 10] == 0


def test_order_and_repetition_do_not_matter():
    dice = random.Random(2)
    for _ in range(20):
        dots = dots_of(dice, 6)
        weights = focus_map(dots, 17, 23)
        dice.shuffle(dots)
        assert torch.allclose(focus_map(dots, 17, 23), weights, atol=1e-7)
        kept = [dot for dot in dots if dot.w > 0]
        assert torch.equal(focus_map(kept + kept, 17, 23), focus_map(kept, 17, 23))


def test_weights_stay_between_0_and_1():
    dice = random.Random(3)
    extremes = [Dot(0, 0, 5e-324, 1.0), Dot(1, 1, 10.0, 1.0), Dot(1, 0, 1e-300, -1.0)]
    for dots in [extremes, *(dots_of(dice, dice.randrange(1, 9)) for _ in range(50))]:
        weights = focus_map(dots, 11, 7)
        assert weights.dtype == torch.float32 and torch.isfinite(weights).all()
        assert 0 <= weights.min() and weights.max() <= 1


def test_mirrored_dots_make_mirrored_maps():
    """Across the picture's centre, for a grid on which both centres fall on tokens."""
    left = focus_map([Dot(4 / 16, 0.5, 0.6)], 16, 16)
    right = focus_map([Dot(12 / 16, 0.5, 0.6)], 16, 16)
    assert torch.equal(left[:, 1:], right[:, 1:].flip(1))


@pytest.mark.parametrize("height, width, rows, columns", [(38, 56, 19, 28), (100, 37, 19, 28), (5, 7, 19, 28)])
def test_a_mask_is_averaged_over_each_token(height, width, rows, columns):
    mask = torch.from_numpy(np.random.RandomState(0).rand(2, height, width).astype(np.float32))
    averaged = pool_mask(mask, rows, columns, pictures=2)
    for row in range(rows):
        top, bottom = row * height // rows, -(-(row + 1) * height // rows)
        for column in range(columns):
            left, right = column * width // columns, -(-(column + 1) * width // columns)
            expected = mask[:, top:bottom, left:right].mean(dim=(1, 2))
            assert torch.allclose(averaged[:, row, column], expected, atol=1e-6)


def test_a_mask_for_all_and_one_for_each():
    assert pool_mask(torch.ones(30, 40), 3, 4, pictures=5).shape == (1, 3, 4)
    assert pool_mask(torch.ones(1, 30, 40), 3, 4, pictures=5).shape == (1, 3, 4)
    assert pool_mask(torch.ones(5, 30, 40), 3, 4, pictures=5).shape == (5, 3, 4)
    assert torch.equal(pool_mask(torch.full((9, 9), 7.0), 3, 3, pictures=1), torch.ones(1, 3, 3))


@pytest.mark.parametrize(
    "mask, thing, remedy",
    [
        (torch.ones(2, 8, 8), "the shape [2, 8, 8] for 3 image(s)", "give one, or one for each"),
        (torch.ones(1, 1, 8, 8), "the shape [1, 1, 8, 8]", "give one, or one for each"),
        (torch.ones(8), "the shape [8]", "give one, or one for each"),
        (torch.ones(0, 8), "the shape [1, 0, 8]", "give one, or one for each"),
        (torch.full((8, 8), float("nan")), "NaN", "give a mask of 0 to 1"),
        (torch.full((8, 8), float("inf")), "infinity", "give a mask of 0 to 1"),
    ],
)
def test_bad_masks(mask, thing, remedy):
    with pytest.raises(InputError) as raised:
        pool_mask(mask, 4, 4, pictures=3)
    sentence = one_sentence(raised.value)
    assert thing in sentence and remedy in sentence


@pytest.mark.parametrize("height, width", [(512, 512), (197, 301), (4, 4), (1, 28)])
def test_the_map_at_image_size(height, width):
    weights = torch.rand(2, 13, 20)
    picture = at_image_size(weights, height, width)
    assert picture.shape == (2, height, width)
    for row in range(0, height, 37):
        for column in range(0, width, 41):
            token = weights[:, int((row + 0.5) * 13 / height), int((column + 0.5) * 20 / width)]
            assert torch.equal(picture[:, row, column], token)


def tokens_of(embeddings: torch.Tensor, rows: int) -> ImageTokens:
    return ImageTokens(embeddings, (rows, embeddings.shape[1] // rows), torch.zeros(len(embeddings), 28, 28, 3), "any")


def test_tokens_weighed():
    tokens = tokens_of(torch.rand(2, 4, 3, generator=torch.Generator().manual_seed(0)), rows=2)
    weights = torch.tensor([[[0.0, 0.5], [0.0, 1.0]]])
    scaled = tokens.embeddings * torch.tensor([0.0, 0.5, 0.0, 1.0])[:, None]
    assert torch.equal(apply_focus(tokens, weights, "scale").embeddings, scaled)
    assert torch.equal(apply_focus(tokens, weights, "drop").embeddings, scaled[:, [1, 3]])
    assert torch.equal(apply_focus(tokens, torch.ones(1, 2, 2), "drop").embeddings, tokens.embeddings)
    watched = apply_focus(tokens, weights, "attention")
    assert watched.embeddings is tokens.embeddings
    assert watched.weights.tolist() == [[0.0, 0.5, 0.0, 1.0]] * 2


def test_one_focus_after_another():
    tokens = tokens_of(torch.rand(1, 4, 3, generator=torch.Generator().manual_seed(0)), rows=2)
    first, second = torch.tensor([[[0.0, 0.5], [1.0, 1.0]]]), torch.tensor([[[1.0, 0.5], [0.0, 1.0]]])
    twice = apply_focus(apply_focus(tokens, first, "attention"), second, "attention")
    assert twice.weights.tolist() == [[0.0, 0.25, 0.0, 1.0]]
    dropped = apply_focus(apply_focus(tokens, first, "attention"), second, "drop")
    assert dropped.weights.tolist() == [[0.0, 0.5, 1.0]] and dropped.count == 3
    with pytest.raises(InputError, match="already thinned by mode drop"):
        apply_focus(dropped, first, "attention")


def test_a_weight_for_each_picture():
    tokens = tokens_of(torch.ones(2, 2, 1), rows=1)
    own = torch.tensor([[[0.0, 1.0]], [[1.0, 0.25]]])
    assert apply_focus(tokens, own, "scale").embeddings.flatten().tolist() == [0, 1, 1, 0.25]
    assert apply_focus(tokens, own, "attention").weights.flatten().tolist() == [0, 1, 1, 0.25]
    with pytest.raises(InputError, match="one mask for all"):
        apply_focus(tokens, own, "drop")


@pytest.mark.parametrize("mode", MODES)
def test_a_focus_on_nothing(mode):
    one_of_two = torch.tensor([[[0.0, 1.0]], [[0.0, 0.0]]])
    for weights in (torch.zeros(1, 1, 2), one_of_two):
        with pytest.raises(InputError, match="leaves nothing of the image"):
            apply_focus(tokens_of(torch.ones(2, 2, 1), rows=1), weights, mode)


GOOD = {
    "": (),
    "  \n\t": (),
    "[]": (),
    '[{"x": 0.3, "y": 1}]': (Dot(0.3, 1.0, 0.5, 1.0),),
    '[{"x": 0, "y": 0.5, "r": 10, "w": -1}]': (Dot(0.0, 0.5, 10.0, -1.0),),
    '[{"w": 0, "r": 1e-3, "y": 0, "x": 1},{"x":5E-1,"y":0.25}]': (Dot(1.0, 0.0, 0.001, 0.0), Dot(0.5, 0.25)),
}


@pytest.mark.parametrize("text", GOOD)
def test_good_dots(text):
    dots = parse_dots(text)
    assert dots == GOOD[text]
    assert all(type(value) is float for dot in dots for value in (dot.x, dot.y, dot.r, dot.w))


def test_as_many_dots_as_allowed():
    assert len(parse_dots(json.dumps([{"x": 0.5, "y": 0.5}] * MAX_DOTS))) == MAX_DOTS


def dot(**entries: object) -> str:
    return json.dumps([{"x": 0.5, "y": 0.5, **entries}])


LIKE = 'like [{"x": 0.3'
BAD = {
    "not JSON": ("left side please", "not JSON text (Expecting value at character 1)", LIKE),
    "cut short": ('[{"x": 0.3, "y"', "not JSON text", LIKE),
    "a trailing comma": ('[{"x": 0.3, "y": 0.5},]', "not JSON text", LIKE),
    "Python repr": ("[{'x': 0.3, 'y': 0.5}]", "property name enclosed in double quotes at character 3", LIKE),
    "two lists": ("[] []", "not JSON text (Extra data at character 4)", LIKE),
    "a byte order mark": ("\ufeff[]", "not JSON text", LIKE),
    "an object": ('{"x": 0.3, "y": 0.5}', "a JSON object, not a list", LIKE),
    "a number": ("5", "a JSON number, not a list", LIKE),
    "NaN": ("NaN", "a JSON number, not a list", LIKE),
    "null": ("null", "a JSON null, not a list", LIKE),
    "true": ("true", "a JSON true/false, not a list", LIKE),
    "text": ('"[]"', "a JSON text, not a list", LIKE),
    "nested too deep": ("[" * 100_000, "lists in lists without end", LIKE),
    "nested too deep and closed": ("[" * 100_000 + "]" * 100_000, "lists in lists without end", LIKE),
    "a dot of numbers": ("[[0.3, 0.5]]", "Dot 1 is a JSON list, not an object", LIKE),
    "a dot of nothing": ('[{"x": 0.3, "y": 0.5}, null]', "Dot 2 is a JSON null, not an object", LIKE),
    "a dot of text": ('["x"]', "Dot 1 is a JSON text, not an object", LIKE),
    "no x": ('[{"y": 0.5}]', "Dot 1 has no x", "needs x and y from 0 to 1"),
    "no y": ('[{"x": 0.5}]', "Dot 1 has no y", "needs x and y from 0 to 1"),
    "an empty dot": ("[{}]", "Dot 1 has no x", "needs x and y from 0 to 1"),
    "an unknown entry": (dot(radius=0.5), "Dot 1 has an unknown entry 'radius'", "knows x, y, r and w only"),
    "an entry of markup": (
        dot(**{"<script>alert(1)</script>": 1}),
        "unknown entry '<script>alert(1)</script>'",
        "knows x, y, r and w only",
    ),
    "an entry of lines": (dot(**{"a\nb": 1}), "unknown entry 'a\\nb'", "knows x, y, r and w only"),
    "an endless entry": (dot(**{"k" * 100_000: 1}), "unknown entry 'kkkk", "knows x, y, r and w only"),
    "text for a number": (dot(x="0.5"), "x of dot 1 is a JSON text, not a number", LIKE),
    "true for a number": (dot(w=True), "w of dot 1 is a JSON true/false, not a number", LIKE),
    "null for a number": (dot(r=None), "r of dot 1 is a JSON null, not a number", LIKE),
    "a list for a number": (dot(y=[0.5]), "y of dot 1 is a JSON list, not a number", LIKE),
    "x of NaN": (dot(x=float("nan")), "x of dot 1 is nan", "must be from 0 to 1"),
    "y of infinity": (dot(y=float("inf")), "y of dot 1 is inf", "must be from 0 to 1"),
    "r of infinity": (dot(r=float("inf")), "r of dot 1 is inf", "must be above 0, at most 10"),
    "w of minus infinity": (dot(w=float("-inf")), "w of dot 1 is -inf", "must be from -1 to 1"),
    "x of 1e308": (dot(x=1e308), "x of dot 1 is 1e+308", "must be from 0 to 1"),
    "x beyond floats": ('[{"x": 1e999, "y": 0}]', "x of dot 1 is inf", "must be from 0 to 1"),
    "x below 0": (dot(x=-0.1), "x of dot 1 is -0.1", "must be from 0 to 1"),
    "y above 1": (dot(y=1.1), "y of dot 1 is 1.1", "must be from 0 to 1"),
    "x a breath above 1": (dot(x=1.0000000001), "x of dot 1 is 1.0000000001", "must be from 0 to 1"),
    "pixels": (dot(x=256, y=256), "x of dot 1 is 256.0", "must be from 0 to 1"),
    "r of 0": (dot(r=0), "r of dot 1 is 0.0", "must be above 0, at most 10"),
    "r of minus 0": (dot(r=-0.0), "r of dot 1 is -0.0", "must be above 0, at most 10"),
    "r below 0": (dot(r=-1), "r of dot 1 is -1.0", "must be above 0, at most 10"),
    "r of 11": (dot(r=11), "r of dot 1 is 11.0", "must be above 0, at most 10"),
    "w of 1.5": (dot(w=1.5), "w of dot 1 is 1.5", "must be from -1 to 1"),
    "w of -2": (dot(w=-2), "w of dot 1 is -2.0", "must be from -1 to 1"),
    "400 digits": (dot(x=10**400), "x of dot 1 is inf", "must be from 0 to 1"),
    "5000 digits": ('[{"x": 0, "y": -' + "9" * 5000 + "}]", "y of dot 1 is -inf", "must be from 0 to 1"),
    "the second dot": ('[{"x": 0.3, "y": 0.5}, {"x": 0.3, "y": 2}]', "y of dot 2 is 2.0", "must be from 0 to 1"),
    "too many": (json.dumps([{"x": 0.5, "y": 0.5}] * 10_001), "10001 dots, and 10000 is the most", "leave some out"),
}


@pytest.mark.parametrize("text, thing, remedy", BAD.values(), ids=[name.replace(" ", "_") for name in BAD])
def test_bad_dots(text, thing, remedy):
    with pytest.raises(InputError) as raised:
        parse_dots(text)
    sentence = one_sentence(raised.value)
    assert thing in sentence and remedy in sentence, sentence


@pytest.mark.parametrize("value, kind", [([{"x": 0.5, "y": 0.5}], "list"), ({}, "dict"), (5, "int"), (b"[]", "bytes")])
def test_dots_that_are_no_text(value, kind):
    with pytest.raises(InputError) as raised:
        parse_dots(value)
    sentence = one_sentence(raised.value)
    assert f"The dots are a {kind}, not JSON text" in sentence and LIKE in sentence


def test_any_text_is_dots_or_one_sentence():
    """2000 seeded texts, from noise to almost good ones."""
    dice = random.Random(7)
    words = ['"x"', '"y"', '"r"', '"w"', "0.5", "-1", "1e400", "NaN", "true", "null", "[", "]", "{", "}", ":", ",", '"']
    good = bad = 0
    for number in range(2000):
        if number % 4 == 0:
            text = "".join(chr(dice.randrange(1, 0x3000)) for _ in range(dice.randrange(40)))
        elif number % 4 == 1:
            text = "".join(dice.choice(words) for _ in range(dice.randrange(25)))
        else:
            names = ("x", "y", "r", "w") if number % 4 == 2 else ("x", "y", "rr", "")
            entries = [{name: dice.choice([dice.random(), 1, -1, "a", None]) for name in names} for _ in range(2)]
            fair = [{"x": dice.random(), "y": dice.random(), "r": dice.random() + 0.01, "w": dice.uniform(-1, 1)}]
            text = json.dumps(dice.choice([entries, fair, fair]))
            if dice.random() < 0.3:
                place = dice.randrange(len(text))
                text = text[:place] + dice.choice(words) + text[place + dice.randrange(3) :]
        try:
            dots = parse_dots(text)
        except InputError as error:
            one_sentence(error)
            bad += 1
        else:
            assert torch.isfinite(focus_map(dots, 5, 6)).all()
            good += 1
    assert good > 200 and bad > 1000
