"""web/griddot/arithmetic.js against focus.py, in Chromium."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from playwright.sync_api import Browser, Page

from systems.common.errors import InputError
from systems.qwen2vl_flux.dots import MAX_DOTS, Dot, parse_dots
from systems.qwen2vl_flux.focus import focus_map

SITE = "http://griddot.test/"  # answered from the folder, never asked for in the network
IN_MODULE = "async ([name, ...values]) => { return (await import('/griddot/arithmetic.js'))[name](...values); }"


@pytest.fixture(scope="module")
def page(browser: Browser, root: Path) -> Iterator[Page]:
    def answer(route) -> None:
        name = route.request.url.removeprefix(SITE)
        if name:
            route.fulfill(path=root / "web" / name, content_type="text/javascript")
        else:
            route.fulfill(body="<!doctype html>", content_type="text/html")

    page = browser.new_page()
    page.route(f"{SITE}**", answer)
    page.goto(SITE)
    yield page
    page.close()


def call(page: Page, name: str, *values: object) -> object:
    return page.evaluate(IN_MODULE, [name, *values])


def entry(dot: Dot) -> dict:
    return {"x": dot.x, "y": dot.y, "r": dot.r, "w": dot.w}


def case(dice: random.Random) -> tuple[list[Dot], int, int]:
    def value(low: float, high: float) -> float:
        return dice.choice([low, high, dice.uniform(low, high), round(dice.uniform(low, high), 2)])

    dots = [
        Dot(value(0, 1), value(0, 1), dice.choice([1e-9, 10.0, dice.uniform(0.01, 1.5)]), value(-1, 1))
        for _ in range(dice.choice([0, 1, 2, 3, 10, 100]))
    ]
    return dots, dice.randint(1, 48), dice.randint(1, 48)


def test_500_maps_equal_pythons(page: Page) -> None:
    dice = random.Random(4)
    cases = [case(dice) for _ in range(500)]
    asked = [[[entry(dot) for dot in dots], rows, columns] for dots, rows, columns in cases]
    script = """async cases => {
        const { focusMap } = await import('/griddot/arithmetic.js');
        return cases.map(([dots, rows, columns]) => Array.from(focusMap(dots, rows, columns)));
    }"""
    made = page.evaluate(script, asked)
    worst = max(
        (torch.tensor(values).reshape(rows, columns) - focus_map(dots, rows, columns)).abs().max().item()
        for values, (dots, rows, columns) in zip(made, cases, strict=True)
    )
    assert worst <= 1e-6
    assert sum(0 < value < 1 for values in made for value in values) > 50_000  # not all of them 0 or 1


def edited(dice: random.Random, dots: list[Dot]) -> list[Dot]:
    """A list after one edit, as gestures make them."""
    (new,), at = case_of(dice, 1), dice.randint(0, max(0, len(dots) - 1))
    kind = dice.choice(["add", "add", "many", "replace", "replace", "again", "remove", "insert", "all", "none", "same"])
    changes = {
        "add": lambda: [*dots, new],
        "many": lambda: dots + case_of(dice, 12),
        "replace": lambda: [*dots[:at], new, *dots[at + 1 :]],
        "again": lambda: [*dots[:-1], new],
        "remove": lambda: dots[:at] + dots[at + 1 :],
        "insert": lambda: [*dots[:at], new, *dots[at:]],
        "all": lambda: case_of(dice, 30),
        "none": lambda: [],
        "same": lambda: list(dots),
    }
    return changes[kind]()


def case_of(dice: random.Random, count: int) -> list[Dot]:
    return [Dot(dice.random(), dice.random(), dice.uniform(0.01, 1.5), dice.uniform(-1, 1)) for _ in range(count)]


def test_maps_that_are_kept_up_to_date_equal_pythons(page: Page) -> None:
    dice = random.Random(6)
    numbers: dict[int, int] = {}
    known: list[Dot] = []
    looks, dots, grid = [], [], (18, 18)
    for _ in range(600):
        dots = edited(dice, dots)
        grid = dice.choice([(18, 18), (7, 30)]) if dice.random() < 0.05 else grid
        for each in dots:
            if id(each) not in numbers:
                numbers[id(each)] = len(known)
                known.append(each)
        looks.append((dots, grid))
    asked = [[[numbers[id(each)] for each in dots], *grid] for dots, grid in looks]
    script = """async ([known, looks]) => {
        const { Weights } = await import('/griddot/weights.js');
        const { Resting } = await import('/griddot/resting.js');
        const [weights, resting] = [new Weights(), new Resting()];
        return looks.map(([numbers, rows, columns]) => {
            resting.look(numbers.map(number => known[number]));
            const scene = { grid: { rows, columns }, mask: null, view: { sides: [1, 1] } };
            return Array.from(weights.of(scene, resting).weights);
        });
    }"""
    made = page.evaluate(script, [[entry(each) for each in known], asked])
    worst = max(
        (torch.tensor(values).reshape(grid) - focus_map(dots, *grid)).abs().max().item()
        for values, (dots, grid) in zip(made, looks, strict=True)
    )
    assert worst <= 1e-6


def test_text_goes_out_and_comes_back_unchanged(page: Page) -> None:
    dice = random.Random(5)
    for _ in range(20):
        dots, _, _ = case(dice)
        text = call(page, "formatDots", [entry(dot) for dot in dots])
        assert list(parse_dots(text)) == dots
        assert call(page, "parseDots", text) == [entry(dot) for dot in dots]
    assert call(page, "formatDots", []) == ""
    assert call(page, "formatDots", [entry(Dot(0.3, 0.5, 0.4, 1))]) == '[{"x": 0.3, "y": 0.5, "r": 0.4, "w": 1}]'


def one(**entries: object) -> str:
    return json.dumps([{"x": 0.5, "y": 0.5, **entries}])


TEXTS = [
    "",
    "  \n\t",
    "\u00a0\u3000",
    "\x1c\x85",
    "[]",
    " [ ] ",
    "\ufeff[]",
    "\ufeff",
    "\u200b",
    "null",
    "5",
    "NaN",
    "{}",
    '"[]"',
    "[] []",
    "left side please",
    '[{"x": 0.3, "y"',
    '[{"x": 0.3, "y": 0.5},]',
    "[{'x': 0.3, 'y': 0.5}]",
    "[[0.3, 0.5]]",
    "[{}]",
    "[null]",
    '["x"]',
    '[{"y": 0.5}]',
    '[{"x": 0.5}]',
    '[{"x": 0.3, "y": 1}]',
    '[{"x": 0, "y": 0.5, "r": 10, "w": -1}]',
    '[{"w": 0, "r": 1e-3, "y": 0, "x": 1},{"x":5E-1,"y":0.25}]',
    '[{"x": 0.1, "x": 0.9, "y": 0.5}]',
    '[{"x": 1e999, "y": 0}]',
    f'[{{"x": {"1" * 400}, "y": 0}}]',
    f'[{{"x": 0.{"3" * 4000}, "y": 0}}]',
    '[{"x": 0.5, "y": 0.5, "__proto__": {"w": 1}}]',
    '[{"x": 0.5, "y": 0.5, "constructor": 1}]',
    '[{"__proto__": 1}]',
    '[{"x": -0, "y": -0.0, "w": -0.0}]',
    "[" * 5000,
    '[{"x": 0.5, "y": 0.5}, {"x": 0.5, "y": 2}]',
    '[{"x": 0.5,\n"y": 0.5}]\n',
    '[{"x": "0.5", "y": 0.5}]',
    '[{"x": 01, "y": 0.5}]',
    *(
        one(**{key: value})
        for key in "xyrw"
        for value in (0, 1, -1, 0.5, 10, 10.001, -0.001, 1e308, "1", None, True, [1], {})
    ),
    *(one(**{key: float(value)}) for key in "xyrw" for value in ("nan", "inf", "-inf")),
    one(radius=1),
    one(**{"<img src=x onerror=alert(1)>": 1}),
    one(**{"k" * 100_000: 1}),
    json.dumps([{"x": 0.5, "y": 0.5}] * MAX_DOTS),
    json.dumps([{"x": 0.5, "y": 0.5}] * (MAX_DOTS + 1)),
]


def test_texts_are_good_or_bad_alike(page: Page) -> None:
    script = """async texts => {
        const { parseDots } = await import('/griddot/arithmetic.js');
        const { LANGUAGES } = await import('/griddot/words.js');
        const { TextError } = await import('/panels/json_lists.js');
        const { wordsIn } = await import('/panels/words.js');
        return texts.map(text => {
            try {
                return parseDots(text);
            } catch (error) {
                return error instanceof TextError ? error.says(wordsIn(LANGUAGES, 'en')) : error;
            }
        });
    }"""
    said = page.evaluate(script, TEXTS)
    verdicts = []
    for text, here in zip(TEXTS, said, strict=True):
        try:
            there = [entry(dot) for dot in parse_dots(text)]
        except InputError as error:
            there = str(error)
        if isinstance(there, list):
            assert here == there, text[:80]
        else:
            assert isinstance(here, str) and len(here) < 400 and here.endswith("."), text[:80]
            if "not JSON text" not in here:  # the parsers have their own words for what is no JSON
                assert here.split(" is ")[0] == there.split(" is ")[0].replace("'", '"'), text[:80]
        verdicts.append(isinstance(there, list))
    assert {True, False} == set(verdicts)


def test_what_is_bad_is_said_in_chinese_too(page: Page) -> None:
    script = """async texts => {
        const { parseDots } = await import('/griddot/arithmetic.js');
        const { LANGUAGES } = await import('/griddot/words.js');
        const { wordsIn } = await import('/panels/words.js');
        return texts.map(text => {
            try {
                parseDots(text);
                return ['', ''];
            } catch (error) {
                return ['en', 'zh'].map(language => error.says(wordsIn(LANGUAGES, language)));
            }
        });
    }"""
    pairs = {(english, chinese) for english, chinese in page.evaluate(script, TEXTS) if english}
    for english, chinese in pairs:
        assert re.search(r"[\u4e00-\u9fff]", chinese) and chinese.endswith("。")
        assert not re.search(r"\{\w+\}|undefined", english + chinese)
        assert not re.search(r"[\u4e00-\u9fff]", english)
    assert len(pairs) > 20
