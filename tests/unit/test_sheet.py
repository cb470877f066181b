"""The contact sheet."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from client.sheet import CELL, GAP, LABEL, contact_sheet


def runs(line: np.ndarray) -> list[tuple[int, int]]:
    """(first, length) of each stretch of True."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], line.astype(np.int8), [0]))))
    return [(int(first), int(last - first)) for first, last in edges.reshape(-1, 2)]


@pytest.mark.parametrize(("size", "high"), [((64, 64), CELL), ((200, 100), CELL // 2), ((30, 60), CELL)])
def test_pictures_of_a_shape_stand_close(size, high):
    """Rows as high as the pictures need, each with its label's line below; all of one size, none over another."""
    sheet = contact_sheet(
        "title", "subtitle", [], [(f"label {index}", Image.new("RGB", size, "red")) for index in range(8)]
    )
    red = (np.asarray(sheet) == (255, 0, 0)).all(-1)
    rows, columns = runs(red.any(1)), runs(red.any(0))
    assert len(rows) * len(columns) >= 8 and len(rows) > 1
    assert {length for _, length in rows} == {high}
    assert {length for _, length in columns} == {min(CELL, CELL * size[0] // size[1])}
    assert {after - before for (before, _), (after, _) in pairwise(rows)} == {high + LABEL + GAP}


def test_a_wide_reference_and_tall_variations_share_their_rows():
    left = [("reference", Image.new("RGB", (200, 100), "blue"))]
    sheet = np.asarray(contact_sheet("", "", left, [("", Image.new("RGB", (50, 100), "red"))] * 2))
    (blue,), (red,) = (runs((sheet == ink).all(-1).any(1)) for ink in ((0, 0, 255), (255, 0, 0)))
    assert (blue[1], red[1]) == (CELL // 2, CELL)
    assert blue[0] + blue[1] // 2 == red[0] + red[1] // 2
