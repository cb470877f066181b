"""Node ids that no other pack has: where two packs share one, ComfyUI keeps the node of the folder loaded last."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pack import NODES

PUBLISHED = Path(__file__).resolve().parent.parent / "data" / "node_ids"


def _lines(name: str) -> list[str]:
    return (PUBLISHED / name).read_text("utf-8").split("\n")[:-1]


OWN_IDS = list(NODES)


@pytest.fixture(scope="module")
def taken() -> set[str]:
    """All published ids, in small letters: the node search tells no other."""
    return {node_id.casefold() for node_id in _lines("ids.txt")}


def test_no_id_is_another_packs(taken: set[str]) -> None:
    assert len(taken) > 20_000
    assert [node_id for node_id in OWN_IDS if node_id.casefold() in taken] == []


@pytest.mark.parametrize("node_id", ["SAM2Segment", "DepthAnythingPreprocessor", "KSampler"])
def test_an_id_of_another_pack_is_known(node_id: str, taken: set[str]) -> None:
    assert node_id.casefold() in taken


def test_no_id_looks_like_another_packs() -> None:
    """ComfyUI-Manager offers the pack whose pattern fits when a workflow's node is missing."""
    patterns = _lines("patterns.txt")
    assert any(re.search(pattern, "Seed (rgthree)") for pattern in patterns)
    assert [(node_id, pattern) for node_id in OWN_IDS for pattern in patterns if re.search(pattern, node_id)] == []


def test_ids_differ_in_more_than_capitals() -> None:
    """Help pages are files named by id, on file systems that do not tell capitals from small letters too."""
    assert len({node_id.casefold() for node_id in OWN_IDS}) == len(OWN_IDS)
