"""What GridDot Focus leaves for its panel after a run."""

from __future__ import annotations

import json
import re
from pathlib import Path

import folder_paths
import pytest
import torch
from pack import NODES, module
from PIL import Image

from systems.qwen2vl_flux.preprocess import encoder_size
from systems.qwen2vl_flux.tokens import ImageTokens

THUMBNAIL_SIDE = module("nodes.griddot").THUMBNAIL_SIDE
DOTS = '[{"x": 0.5, "y": 0.5, "r": 1}]'


@pytest.fixture
def temporary(tmp_path: Path):
    before = folder_paths.get_temp_directory()
    folder_paths.set_temp_directory(str(tmp_path / "temp"))
    yield tmp_path / "temp"
    folder_paths.set_temp_directory(before)


def test_the_panel_takes_every_grid_that_the_encoder_makes(root: Path):
    """At the largest token budget, up to its longest pictures; and bounds what a stored workflow can hold."""
    source = (root / "web" / "griddot" / "runs.js").read_text("utf-8")
    most = int(re.search(r"MOST_TOKENS = ([\d_]+);", source)[1])
    budget = next(item for item in NODES["Qwen2VLEncode"].define_schema().inputs if item.id == "token_budget").max
    counts = []
    for width in (*range(100, 20_001, 7), 20_000):
        rows, columns = (edge // 28 for edge in encoder_size(100, width, 28, budget * 28**2))
        counts.append(rows * columns)
    assert budget < max(counts) <= most < 1.2 * budget


def tokens_of(pictures: int = 1) -> ImageTokens:
    picture = torch.rand(pictures, 600, 900, 3, generator=torch.Generator().manual_seed(0))
    return ImageTokens(torch.rand(pictures, 24, 2), (4, 6), picture, "any")


def message(**inputs: object) -> dict:
    result = NODES["GridDotFocus"].execute(**{"tokens": tokens_of(), "dots": DOTS, "mode": "scale", **inputs})
    (shown,) = result.ui["griddot"]
    assert json.loads(json.dumps(shown)) == shown
    return shown


def test_grid_dots_and_picture(temporary: Path) -> None:
    shown = message()
    assert (shown["rows"], shown["columns"], shown["dots"]) == (4, 6, DOTS)
    assert "mask" not in shown
    with Image.open(temporary / shown["picture"]["filename"]) as picture:
        assert picture.format == "JPEG" and picture.size == (THUMBNAIL_SIDE, round(600 / 900 * THUMBNAIL_SIDE))
    assert (shown["picture"]["subfolder"], shown["picture"]["type"]) == ("", "temp")


def test_a_moved_dot_writes_no_other_file(temporary: Path) -> None:
    one, other = message(), message(dots="")
    assert one["picture"] == other["picture"]
    assert [path.name for path in temporary.iterdir()] == [one["picture"]["filename"]]


def test_the_first_mask_of_a_batch(temporary: Path) -> None:
    masks = torch.stack([torch.full((8, 12), 1 / 3), torch.ones(8, 12)])
    assert message(tokens=tokens_of(2), mask=masks)["mask"] == [[0.333] * 6] * 4


def test_a_full_disk_stops_nothing(temporary: Path) -> None:
    temporary.write_text("a file where the folder would be")
    shown = message()
    assert shown["rows"] == 4 and "picture" not in shown
