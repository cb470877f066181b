"""The judge on pictures whose content is known: right ones, spoiled ones and wrong ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from lab.benchmark.held_out import References, held_out, share_met
from lab.benchmark.judge import Thing, Verdict, judge
from lab.benchmark.scores import (
    Content,
    Match,
    contents,
    difference,
    in_place,
    match,
    matches,
    shares,
    shuffled,
    spread,
    steered,
)
from lab.world.scenes import (
    BACKGROUNDS,
    COLOURS,
    KINDS,
    LEARNED_COUNTS,
    PATTERNS,
    UNIT,
    Layout,
    Scenes,
    random_scenes,
)

SIZES = [(128, 128), (160, 96), (80, 192), (112, 144), (320, 64), (320, 320)]
CIRCLE, SQUARE, TRIANGLE, PLUS = range(len(KINDS))
RED, BLUE, PINK = (tuple(COLOURS).index(name) for name in ("red", "blue", "pink"))
NAVY, STRIPES = tuple(BACKGROUNDS).index("navy"), PATTERNS.index("stripes")


def compared(
    references: References, spoil: Callable[[torch.Tensor], torch.Tensor] = lambda values: values
) -> list[Match]:
    verdicts = [judge(spoil(values).clamp(0, 1)) for values in references.renders()]
    return matches(verdicts, contents(references.scenes))


@pytest.mark.parametrize("width, height", SIZES)
def test_what_is_drawn_is_read(width, height):
    found = shares(compared(held_out(20, turn=100, canvas=(width / UNIT, height / UNIT))))
    assert all(share == 1 for share in found.values()), found


def test_what_is_drawn_small_is_read():
    """Of the smallest triangles that are striped white on white, little is to be seen."""
    found = shares(compared(held_out(100, turn=100, canvas=(0.5, 0.5))))
    assert found["background"] == found["pattern"] == found["palette"] == found["count"] == 1, found
    assert found["exact"] >= 0.97, found


# ---- what a small model does to pictures ---------------------------------------------------------------------------


def blurred(values: torch.Tensor) -> torch.Tensor:
    """By a Gaussian of 1.2 pixels."""
    at = torch.arange(-4, 5)
    line = torch.exp(-(at**2) / (2 * 1.2**2))
    kernel = (line[:, None] * line / line.sum() ** 2).expand(3, 1, -1, -1)
    padded = functional.pad(values.movedim(-1, 0)[None], (4, 4, 4, 4), mode="replicate")
    return functional.conv2d(padded, kernel, groups=3)[0].movedim(0, -1)


def noisy(values: torch.Tensor) -> torch.Tensor:
    return values + 0.04 * torch.randn(values.shape, generator=torch.Generator().manual_seed(0))


def tinted(values: torch.Tensor) -> torch.Tensor:
    return 0.94 * values + torch.tensor([0.04, -0.01, 0.03])


def wobbly(values: torch.Tensor) -> torch.Tensor:
    """Every outline off by a pixel or two."""
    height, width, _ = values.shape
    moved = torch.randn(1, 2, height // 8, width // 8, generator=torch.Generator().manual_seed(0))
    moved = functional.interpolate(moved, size=(height, width), mode="bicubic")[0].movedim(0, -1)
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    size = torch.tensor([width, height])
    grid = 2 * (torch.stack([x, y], dim=-1) + moved) / size - 1
    read = functional.grid_sample(values.movedim(-1, 0)[None], grid[None], padding_mode="border", align_corners=False)
    return read[0].movedim(0, -1)


def all_at_once(values: torch.Tensor) -> torch.Tensor:
    return noisy(tinted(blurred(wobbly(values))))


@pytest.mark.parametrize("spoil", [blurred, noisy, tinted, wobbly, all_at_once])
def test_spoiled_pictures_are_read(spoil):
    found = shares(compared(held_out(40, turn=101), spoil))
    assert found["background"] == found["pattern"] == 1, found
    assert found["exact"] >= 0.97, found


# ---- each wrong way is seen ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pair() -> References:
    """A red circle and a striped blue plus on navy with stripes."""
    scenes = Scenes(
        count=torch.tensor([2]),
        kind=torch.tensor([[CIRCLE, PLUS, SQUARE]]),
        colour=torch.tensor([[RED, BLUE, tuple(COLOURS).index("yellow")]]),
        striped=torch.tensor([[False, True, False]]),
        background=torch.tensor([NAVY]),
        pattern=torch.tensor([STRIPES]),
    )
    centre = torch.tensor([[[0.25, 0.27], [0.74, 0.72], [0.26, 0.74]]])
    layout = Layout(centre, torch.full((1, 3), 0.19), torch.full((1, 3), 0.05), (1.0, 1.0))
    return References(scenes, layout)


def with_object(scenes: Scenes, **changed: int | bool) -> Scenes:
    """The scene with its first object changed."""
    values = {name: getattr(scenes, name).clone() for name in changed}
    for name, value in changed.items():
        values[name][0, 0] = value
    return replace(scenes, **values)


def test_the_pair_is_right(pair):
    (found,) = compared(pair)
    assert found == Match(
        background=True, pattern=True, palette=True, exact=True, wanted=2, drawn=2, found=2, striped=2
    )


@pytest.mark.parametrize(
    "change, noticed, told",
    [
        (
            lambda s: with_object(s, kind=SQUARE),
            {"exact": False, "found": 1, "striped": 1},
            "no red circle, also red square",
        ),
        (
            lambda s: with_object(s, colour=2),
            {"exact": False, "palette": False, "found": 1, "striped": 1},
            "no red circle, also yellow circle",
        ),
        (lambda s: with_object(s, striped=True), {"striped": 1}, ""),
        (
            lambda s: replace(s, count=torch.tensor([1])),
            {"exact": False, "palette": False, "drawn": 1, "found": 1, "striped": 1},
            "no blue plus",
        ),
        (
            lambda s: replace(s, count=torch.tensor([3])),
            {"exact": False, "palette": False, "drawn": 3},
            "also yellow square",
        ),
        (lambda s: replace(s, background=torch.tensor([0])), {"background": False}, "on white, stripes"),
        (lambda s: replace(s, pattern=torch.tensor([0])), {"pattern": False}, "on navy, plain"),
        (lambda s: replace(s, pattern=torch.tensor([2])), {"pattern": False}, "on navy, dots"),
    ],
    ids=["kind", "colour", "striped", "missing", "extra", "background", "plain", "dots"],
)
def test_what_is_wrong_is_noticed_and_nothing_else(pair, change, noticed, told):
    (content,) = contents(pair.scenes)
    (values,) = References(change(pair.scenes), pair.layout).renders()
    verdict = judge(values)
    right = Match(background=True, pattern=True, palette=True, exact=True, wanted=2, drawn=2, found=2, striped=2)
    assert match(verdict, content) == replace(right, **noticed)
    assert difference(verdict, content) == told


def test_an_object_drawn_twice_counts_once(pair):
    twin = replace(pair.layout, centre=pair.layout.centre[:, [2, 0, 1]])
    (values,) = pair.renders()
    (moved,) = References(replace(pair.scenes, count=torch.tensor([1])), twin).renders()
    twice = torch.where(torch.arange(128)[:, None, None] > 64, moved, values)
    twice[:, 64:] = values[:, 64:]
    (content,) = contents(pair.scenes)
    found = match(judge(twice), content)
    assert (found.drawn, found.found, found.exact) == (3, 2, False)


# ---- where and how large -------------------------------------------------------------------------------------------


def test_centre_and_area(pair):
    (values,) = pair.renders()
    circle = next(thing for thing in judge(values).things if thing.colour == RED)
    assert circle.centre == pytest.approx((0.25 * UNIT, 0.27 * UNIT), abs=0.5)
    assert circle.area == pytest.approx(torch.pi * (0.92 * 0.19 * UNIT) ** 2, rel=0.05)


def test_another_scale(pair):
    (values,) = pair.renders(scale=200)
    (content,) = contents(pair.scenes)
    assert match(judge(values, scale=200), content).exact


# ---- blobs ---------------------------------------------------------------------------------------------------------


def on_ground(pair: References, mask: torch.Tensor) -> torch.Tensor:
    """The scene's ground with a red thing where a mask [H, W] is."""
    (ground,) = References(replace(pair.scenes, count=torch.tensor([0])), pair.layout).renders()
    return torch.where(mask[..., None], torch.tensor(COLOURS["red"]) / 255, ground)


def blob(number: int) -> torch.Tensor:
    """A mask [128, 128] of an outline that wanders by half its radius."""
    dice = torch.Generator().manual_seed(number)
    y, x = torch.meshgrid(torch.arange(128) - 40.0, torch.arange(128) - 84.0, indexing="ij")
    waves = torch.arange(1, 6)[:, None, None]
    size, phase = torch.randn(5, 1, 1, generator=dice), 6.3 * torch.rand(5, 1, 1, generator=dice)
    outline = (size * torch.cos(waves * torch.atan2(y, x) + phase)).sum(0)
    return (x**2 + y**2).sqrt() < 20 * (1 + 0.5 * outline / outline.abs().max())


def test_blobs_are_of_no_kind(pair):
    """But for those that happen to be nearly round or square."""
    found = [judge(on_ground(pair, blob(number))).things for number in range(12)]
    assert [[thing.colour for thing in things] for things in found] == [[RED]] * 12
    assert sum(thing.kind is None for (thing,) in found) >= 10


def test_half_an_object_is_of_no_kind(pair):
    (values,) = References(replace(pair.scenes, count=torch.tensor([1])), pair.layout).renders()
    (ground,) = References(replace(pair.scenes, count=torch.tensor([0])), pair.layout).renders()
    values[:34] = ground[:34]
    assert [thing.kind for thing in judge(values).things] == [None]


def test_halves_of_one_object_are_one(pair):
    (values,) = References(replace(pair.scenes, count=torch.tensor([1])), pair.layout).renders()
    (ground,) = References(replace(pair.scenes, count=torch.tensor([0])), pair.layout).renders()
    values[:, 30:33] = ground[:, 30:33]
    assert [(thing.kind, thing.colour) for thing in judge(values).things] == [(CIRCLE, RED)]


def test_blurred_stripes_of_another_colour_are_part_of_an_object(pair):
    (values,) = References(replace(pair.scenes, count=torch.tensor([1])), pair.layout).renders()
    pink = torch.tensor(COLOURS["pink"]) / 255
    values[24:30, 17:47] = values[36:42, 17:47] = pink
    assert [(thing.kind, thing.colour) for thing in judge(values).things] == [(CIRCLE, RED)]
    values[84:90, 17:47] = values[96:102, 17:47] = pink
    assert {(thing.kind, thing.colour) for thing in judge(values).things} == {(CIRCLE, RED), (None, PINK)}


def test_specks_are_nothing(pair):
    mask = torch.zeros(128, 128, dtype=torch.bool)
    mask[20:28, 20:28] = mask[90:94, 10:40] = True
    assert judge(on_ground(pair, mask)).things == ()


# ---- scores --------------------------------------------------------------------------------------------------------


def thing(kind: int | None, colour: int, striped: bool = False) -> Thing:
    return Thing(kind, colour, striped, (0.0, 0.0), 100, 1.0)


def test_chance_is_the_others_content():
    references = held_out(12, turn=102)
    wanted = contents(references.scenes)
    verdicts = [
        Verdict(each.background, each.pattern, tuple(thing(*what, striped) for what, striped in each.striped.items()))
        for each in wanted
    ]
    assert all(share == 1 for share in shares(matches(verdicts, wanted)).values())
    chance = shuffled(verdicts, wanted)
    assert len(chance) == 12 * 11
    assert shares(chance)["exact"] < 0.1
    assert shares(chance)["background"] < 0.4


def test_a_focus_is_strict():
    content = Content(0, 0, {(CIRCLE, RED): False, (PLUS, BLUE): False})

    def strict(*things: Thing) -> tuple[bool, bool, bool]:
        found = steered(Verdict(0, 0, things), content)
        return found.strict, found.present, found.other_absent, found.alone

    assert strict(thing(CIRCLE, RED)) == (True, True, True, True)
    assert strict(thing(CIRCLE, RED), thing(CIRCLE, RED)) == (True, True, True, False)
    assert strict(thing(CIRCLE, RED), thing(SQUARE, PINK)) == (True, True, True, False)
    assert strict(thing(CIRCLE, RED), thing(PLUS, BLUE)) == (False, True, False, False)
    assert strict(thing(CIRCLE, RED), thing(None, BLUE)) == (False, True, False, False)
    assert strict(thing(SQUARE, RED)) == (False, False, True, False)
    assert strict() == (False, False, True, False)


def test_spread_over_seeds():
    still = torch.tensor([[[0.2, 0.2], [0.2, 0.2]]])
    across = torch.tensor([[[0.2, 0.2], [0.8, 0.2]]])
    assert spread(still, (1.0, 1.0)) == {"cells": 1.0, "distance": 0.0}
    assert spread(across[:0], (1.0, 1.0)) == {"cells": None, "distance": None}
    assert spread(across, (1.0, 1.0)) == pytest.approx({"cells": 2.0, "distance": 0.6})


def test_objects_are_in_place_or_not():
    """Drawn as one layout has them: all of them there, and none of those that another layout has elsewhere."""
    one = held_out(24, turn=104)
    other = one.laid_out_anew()
    assert torch.equal(other.layout.centre, one.laid_out_anew().layout.centre)
    wanted, verdicts = contents(one.scenes), [judge(values) for values in one.renders()]
    assert in_place(verdicts, wanted, one.layout.centre * UNIT, 0.1 * UNIT) == 1
    moved = (one.layout.centre - other.layout.centre).norm(dim=-1)[one.scenes.present] > 0.1
    assert in_place(verdicts, wanted, other.layout.centre * UNIT, 0.1 * UNIT) == pytest.approx(
        1 - float(moved.float().mean()), abs=0.05
    )
    assert in_place([Verdict(0, 0, ())] * 24, wanted, one.layout.centre * UNIT, 0.1 * UNIT) == 0


def test_repeated_references_come_in_turns():
    one = held_out(6, turn=105)
    thrice = one.repeated(3)
    assert len(thrice) == 18 and contents(thrice.scenes) == contents(one.scenes) * 3
    assert torch.equal(thrice.layout.centre, one.layout.centre.repeat(3, 1, 1))


def test_held_out_scenes_are_the_same_each_time_and_their_share_is_counted():
    one, other = held_out(200, turn=0), held_out(200, turn=0)
    assert torch.equal(one.scenes.kind, other.scenes.kind) and torch.equal(one.layout.centre, other.layout.centre)
    assert not torch.equal(one.scenes.kind, held_out(200, turn=1).scenes.kind)
    trained = random_scenes(12_000, torch.Generator().manual_seed(6), LEARNED_COUNTS)
    seen = {_told(trained, index) for index in range(len(trained))}
    met = sum(_told(one.scenes, index) in seen for index in range(200)) / 200
    assert share_met(one.scenes, 12_000) == pytest.approx(met, abs=0.08)


def _told(scenes: Scenes, index: int) -> tuple:
    things, ground = scenes.describe(index).split(" on ")
    return frozenset(things.split(" and ")), ground
