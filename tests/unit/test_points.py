"""Points and boxes: what is read from text, and which box a point belongs to."""

from __future__ import annotations

import json
import random
import time

import pytest
from sentences import one_sentence

from systems.annotators.sam2.points import (
    MOST_BOXES,
    MOST_POINTS,
    Box,
    Point,
    Prompt,
    check_prompts,
    in_fractions,
    parse_boxes,
    parse_points,
    prompts_of,
)
from systems.common.errors import InputError

GOOD_POINTS = {
    "": (),
    " \n\t": (),
    "[]": (),
    '[{"x": 0.3, "y": 1}]': (Point(0.3, 1.0, 1),),
    '[{"x": 0, "y": 0.5, "label": 0}, {"label": 1.0, "y": 1, "x": 5E-1}]': (Point(0, 0.5, 0), Point(0.5, 1, 1)),
}
GOOD_BOXES = {
    "": (),
    "  ": (),
    "[]": (),
    "[0.1, 0.2, 0.6, 0.9]": (Box(0.1, 0.2, 0.6, 0.9),),
    "[0, 0, 1, 1]": (Box(0, 0, 1, 1),),
    "[[0, 0, 1, 1]]": (Box(0, 0, 1, 1),),
    "[[0.1, 0.2, 0.4, 0.9], [0.6, 0.2, 0.9, 0.9]]": (Box(0.1, 0.2, 0.4, 0.9), Box(0.6, 0.2, 0.9, 0.9)),
}


@pytest.mark.parametrize("text", GOOD_POINTS)
def test_good_points(text):
    points = parse_points(text)
    assert points == GOOD_POINTS[text]
    assert all(type(point.x) is float and type(point.y) is float and type(point.label) is int for point in points)


@pytest.mark.parametrize("text", GOOD_BOXES)
def test_good_boxes(text):
    assert parse_boxes(text) == GOOD_BOXES[text]


def test_as_many_as_allowed():
    assert len(parse_points(json.dumps([{"x": 0.5, "y": 0.5}] * MOST_POINTS))) == MOST_POINTS
    assert len(parse_boxes(json.dumps([[0, 0, 1, 1]] * MOST_BOXES))) == MOST_BOXES


def point(**entries: object) -> str:
    return json.dumps([{"x": 0.5, "y": 0.5, **entries}])


LIKE = 'like [{"x": 0.3'
KNOWS = "knows x, y and label only"
BAD_POINTS = {
    "not JSON": ("the cat", "The points are not JSON text (Expecting value at character 1)", LIKE),
    "cut short": ('[{"x": 0.3, "y"', "not JSON text", LIKE),
    "Python repr": ("[{'x': 0.3, 'y': 0.5}]", "double quotes at character 3", LIKE),
    "an object": ('{"x": 0.3, "y": 0.5}', "The points are a JSON object, not a list", LIKE),
    "a number": ("5", "a JSON number, not a list", LIKE),
    "null": ("null", "a JSON null, not a list", LIKE),
    "nested too deep": ("[" * 100_000, "lists in lists without end", LIKE),
    "pairs of numbers": ("[[0.3, 0.5]]", "Point 1 is a JSON list, not an object", LIKE),
    "no x": ('[{"y": 0.5}]', "Point 1 has no x", "a point needs x and y, like [{"),
    "no y": ('[{"x": 0.5}, {"x": 0.5}]', "Point 1 has no y", "a point needs x and y, like [{"),
    "an unknown entry": (point(r=0.5), "Point 1 has an unknown entry 'r'", KNOWS),
    "an entry of markup": (point(**{"<b>\n": 1}), "unknown entry '<b>\\n'", KNOWS),
    "an entry of a console that knows no Russian": (point(**{"\u0445": 1}), "unknown entry '\\u0445'", KNOWS),
    "an endless entry": (point(**{"k" * 100_000: 1}), "unknown entry 'kkkk", KNOWS),
    "text for a number": (point(x="0.5"), "x of point 1 is a JSON text, not a number", LIKE),
    "true for a number": (point(y=True), "y of point 1 is a JSON true/false, not a number", LIKE),
    "pixels": (point(x=256), "x of point 1 is 256.0", "must be from 0 to 1"),
    "NaN": (point(y=float("nan")), "y of point 1 is nan", "must be from 0 to 1"),
    "infinity": (point(x=float("-inf")), "x of point 1 is -inf", "must be from 0 to 1"),
    "400 digits": (point(x=10**400), "x of point 1 is inf", "must be from 0 to 1"),
    "a breath below 0": (point(y=-1e-9), "y of point 1 is -1e-09", "must be from 0 to 1"),
    "label 2": (point(label=2), "label of point 1 is 2.0", "must be 1 (keep) or 0 (leave out)"),
    "label -1": (point(label=-1), "label of point 1 is -1.0", "must be 1 (keep) or 0 (leave out)"),
    "label between": (point(label=0.5), "label of point 1 is 0.5", "must be 1 (keep) or 0 (leave out)"),
    "label true": (point(label=True), "label of point 1 is a JSON true/false", "must be 1 (keep) or 0 (leave out)"),
    "label text": (point(label="1"), "label of point 1 is a JSON text", "must be 1 (keep) or 0 (leave out)"),
    "label NaN": (point(label=float("nan")), "label of point 1 is nan", "must be 1 (keep) or 0 (leave out)"),
    "too many": (json.dumps([{"x": 0.5, "y": 0.5}] * 1001), "1001 points, and 1000 is the most", "leave some out"),
}
AS_BOX = "write a box as [left, top, right, bottom]"
BAD_BOXES = {
    "not JSON": ("0.1, 0.2, 0.6, 0.9", "The boxes are not JSON text (Extra data at character 4)", "like [0.1, 0.2"),
    "an object": ('{"x0": 0.1}', "The boxes are a JSON object, not a list", "like [0.1, 0.2"),
    "text": ('"[0, 0, 1, 1]"', "The boxes are a JSON text, not a list", "like [0.1, 0.2"),
    "nested too deep": ("[" * 100_000 + "]" * 100_000, "lists in lists without end", "like [0.1, 0.2"),
    "nested one too deep": ("[[[0, 0, 1, 1]]]", "Box 1 has 1 values, not 4", AS_BOX),
    "three values": ("[0.1, 0.2, 0.6]", "Box 1 has 3 values, not 4", AS_BOX),
    "five values": ("[[0, 0, 1, 1, 1]]", "Box 1 has 5 values, not 4", AS_BOX),
    "an empty box": ("[[0, 0, 1, 1], []]", "Box 2 has 0 values, not 4", AS_BOX),
    "a box beside numbers": ("[[0, 0, 1, 1], 0.5]", "Box 2 is a JSON number, not a list", AS_BOX),
    "an object in the list": ('[{"x0": 0, "y0": 0}]', "Box 1 is a JSON object, not a list", AS_BOX),
    "an object beside a box": ('[[0, 0, 1, 1], {"x0": 0}]', "Box 2 is a JSON object, not a list", AS_BOX),
    "text for a number": ('[0, 0, "1", 1]', "x1 of box 1 is a JSON text, not a number", AS_BOX),
    "null for a number": ("[null, 0, 1, 1]", "x0 of box 1 is a JSON null, not a number", AS_BOX),
    "pixels": ("[10, 20, 300, 400]", "x0 of box 1 is 10.0", "must be from 0 to 1"),
    "below 0": ("[0, -0.1, 1, 1]", "y0 of box 1 is -0.1", "must be from 0 to 1"),
    "NaN": ("[0, 0, NaN, 1]", "x1 of box 1 is nan", "must be from 0 to 1"),
    "infinity": ("[0, 0, 1, 1e999]", "y1 of box 1 is inf", "must be from 0 to 1"),
    "left behind right": ("[0.6, 0.2, 0.1, 0.9]", "Box 1 has no area", "left must be below right"),
    "upside down": ("[0.1, 0.9, 0.6, 0.2]", "Box 1 has no area", "top below bottom"),
    "a line": ("[[0, 0, 1, 1], [0.5, 0, 0.5, 1]]", "Box 2 has no area, [0.5, 0.0, 0.5, 1.0]", "left must be below"),
    "too many": (json.dumps([[0, 0, 1, 1]] * 65), "65 boxes, and 64 is the most", "leave some out"),
}
BAD = [(parse_points, *case) for case in BAD_POINTS.values()] + [(parse_boxes, *case) for case in BAD_BOXES.values()]
NAMES = [f"points-{name}" for name in BAD_POINTS] + [f"box-{name}" for name in BAD_BOXES]


@pytest.mark.parametrize("parse, text, thing, remedy", BAD, ids=[name.replace(" ", "_") for name in NAMES])
def test_bad_prompts(parse, text, thing, remedy):
    with pytest.raises(InputError) as raised:
        parse(text)
    sentence = one_sentence(raised.value)
    assert thing in sentence and remedy in sentence, sentence


GOOD_PIXELS = {
    '[{"x": 154, "y": 256.5, "label": 0}]': (Point(154, 256.5, 0),),
    '[{"x": 0, "y": 0}]': (Point(0, 0),),
    "[51, 102, 307, 461]": (Box(51, 102, 307, 461),),
    "[[0, 0, 1, 1], [2, 2, 9000, 9000]]": (Box(0, 0, 1, 1), Box(2, 2, 9000, 9000)),
    '[{"x": 51, "y": 102, "width": 256, "height": 359}]': (Box(51, 102, 307, 461),),
    '[{"x": 1, "y": 2, "width": 3, "height": 4, "label": "a cat", "score": 0.9}, [0, 0, 8, 8]]': (
        Box(1, 2, 4, 6),
        Box(0, 0, 8, 8),
    ),
}


@pytest.mark.parametrize("text", GOOD_PIXELS)
def test_good_pixels(text):
    parse = parse_points if isinstance(GOOD_PIXELS[text][0], Point) else parse_boxes
    assert parse(text, "pixels") == GOOD_PIXELS[text]


LIKE_PIXELS, AS_SIDES = 'like [{"x": 154', "object of x, y, width and height"
BAD_PIXELS = {
    "points-not JSON": (parse_points, "154, 256", "The points are not JSON text", LIKE_PIXELS),
    "points-no y": (parse_points, '[{"x": 154}]', "Point 1 has no y", LIKE_PIXELS),
    "points-below 0": (parse_points, point(x=-3), "x of point 1 is -3.0", "0 or more, in pixels"),
    "points-NaN": (parse_points, point(y=float("nan")), "y of point 1 is nan", "0 or more, in pixels"),
    "points-infinity": (parse_points, point(y=1e999), "y of point 1 is inf", "0 or more, in pixels"),
    "box-below 0": (parse_boxes, "[-1, 0, 9, 9]", "x0 of box 1 is -1.0", "0 or more, in pixels"),
    "box-infinity": (parse_boxes, "[0, 0, 1e999, 9]", "x1 of box 1 is inf", "0 or more, in pixels"),
    "box-no area": (parse_boxes, "[9, 0, 9, 9]", "Box 1 has no area", "left must be below right"),
    "box-no height": (parse_boxes, '[{"x": 1, "y": 1, "width": 9}]', "Box 1 has no number height", AS_SIDES),
    "box-a width of text": (
        parse_boxes,
        '[{"x": 1, "y": 1, "width": "9", "height": 9}]',
        "Box 1 has no number width",
        AS_SIDES,
    ),
    "box-a width below 0": (
        parse_boxes,
        '[{"x": 9, "y": 1, "width": -4, "height": 9}]',
        "Box 1 has no area",
        "left must be below right",
    ),
    "box-a number in the list": (parse_boxes, "[[0, 0, 9, 9], 5]", "Box 2 is a JSON number", "like [51, 102"),
}


@pytest.mark.parametrize("parse, text, thing, remedy", BAD_PIXELS.values(), ids=BAD_PIXELS)
def test_bad_pixels(parse, text, thing, remedy):
    with pytest.raises(InputError) as raised:
        parse(text, "pixels")
    sentence = one_sentence(raised.value)
    assert thing in sentence and remedy in sentence, sentence


@pytest.mark.parametrize("parse", [parse_points, parse_boxes])
@pytest.mark.parametrize("coordinates", ["percent", "", None, "\n" * 1000])
def test_unknown_coordinates(parse, coordinates):
    with pytest.raises(InputError) as raised:
        parse("", coordinates)
    assert "choose fraction or pixels" in one_sentence(raised.value)


def test_pixels_become_fractions():
    """Of the width and of the height; the far edges are 1."""
    points, boxes = in_fractions([Point(75, 10, 0), Point(300, 0)], [Box(0, 50, 150, 200)], height=200, width=300)
    assert points == (Point(0.25, 0.05, 0), Point(1, 0)) and boxes == (Box(0, 0.25, 0.5, 1),)


@pytest.mark.parametrize(
    "points, boxes, thing",
    [
        ([Point(1, 1), Point(301, 1)], [], "Point 2 reaches to 301, 1"),
        ([Point(1, 250)], [], "Point 1 reaches to 1, 250"),
        ([], [Box(0, 0, 1, 1), Box(10, 10, 20, 200.5)], "Box 2 reaches to 20, 200.5"),
        ([Point(1e300, 1)], [], "Point 1 reaches to 1e+300, 1"),
    ],
)
def test_pixels_outside_of_the_picture(points, boxes, thing):
    with pytest.raises(InputError) as raised:
        in_fractions(points, boxes, height=200, width=300)
    sentence = one_sentence(raised.value)
    assert thing in sentence and "outside of the image of 300 x 200 pixels" in sentence


@pytest.mark.parametrize("parse, name", [(parse_points, "points"), (parse_boxes, "boxes")])
@pytest.mark.parametrize("value, kind", [([0, 0, 1, 1], "list"), ({}, "dict"), (5, "int"), (None, "NoneType")])
def test_prompts_that_are_no_text(parse, name, value, kind):
    with pytest.raises(InputError) as raised:
        parse(value)
    assert f"The {name} are a {kind}, not JSON text" in one_sentence(raised.value)


def test_any_text_is_a_prompt_or_one_sentence():
    """2000 seeded texts, from noise to almost good ones."""
    dice = random.Random(7)
    words = ['"x"', '"y"', '"label"', "0.5", "1", "-1", "1e400", "NaN", "true", "null", "[", "]", "{", "}", ":", ","]
    good = bad = 0
    for number in range(2000):
        parse = dice.choice([parse_points, parse_boxes])
        if number % 3 == 0:
            text = "".join(dice.choice(words) for _ in range(dice.randrange(25)))
        elif parse is parse_points:
            text = json.dumps([{"x": dice.random(), "y": dice.random(), "label": dice.choice([0, 1, 1, 2, None])}])
        else:
            text = json.dumps([dice.choice([dice.random(), 0, 1, 1]) for _ in range(dice.choice([3, 4, 4, 4]))])
        try:
            parse(text)
        except InputError as error:
            one_sentence(error)
            bad += 1
        else:
            good += 1
    assert good > 500 and bad > 800


LEFT, RIGHT = Box(0.1, 0.1, 0.4, 0.9), Box(0.6, 0.1, 0.9, 0.9)
ON_LEFT, ON_RIGHT, BESIDE = Point(0.2, 0.5), Point(0.7, 0.5, 0), Point(0.5, 0.5, 0)


def test_which_points_go_with_which_box():
    points = (ON_LEFT, ON_RIGHT, BESIDE)
    assert prompts_of(points, ()) == (Prompt(points),)
    assert prompts_of(points, (LEFT,)) == (Prompt(points, LEFT),)
    assert prompts_of((), (LEFT, RIGHT)) == (Prompt((), LEFT), Prompt((), RIGHT))
    assert prompts_of(points, (LEFT, RIGHT)) == (Prompt((ON_LEFT, BESIDE), LEFT), Prompt((ON_RIGHT, BESIDE), RIGHT))


def test_the_most_points_and_boxes_are_no_work():
    boxes = [Box(0.0, 0.0, 0.1, 0.1 + number / 100) for number in range(MOST_BOXES)]
    strays = [Point(0.5, number / MOST_POINTS) for number in range(MOST_POINTS)]
    began = time.process_time()
    prompts = prompts_of(strays, boxes)
    assert time.process_time() - began < 1
    assert len(prompts) == MOST_BOXES and all(prompt.points == tuple(strays) for prompt in prompts)


def test_a_point_on_the_edge_lies_in_the_box():
    corners = [Point(x, y) for x in (LEFT.x0, LEFT.x1) for y in (LEFT.y0, LEFT.y1)]
    assert all(LEFT.holds(corner) and not RIGHT.holds(corner) for corner in corners)


@pytest.mark.parametrize(
    "points, thing",
    [((), "There are neither points nor a box"), ((Point(0.5, 0.5, 0),), "All points have label 0 (leave out)")],
)
def test_nothing_to_keep(points, thing):
    for check in (check_prompts, prompts_of):
        with pytest.raises(InputError) as raised:
            check(points, ())
        assert thing in one_sentence(raised.value)
    check_prompts(points, (LEFT,))
