"""Every node explains itself: in its schema, in Chinese too, and on a help page."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from pack import NODES

from lab.help_pages import english_words, pages

# What a ComfyUI with the pack answers at /object_info, by node.
OBJECT_INFO = {name: node.GET_NODE_INFO_V1() for name, node in NODES.items()}

each_node = pytest.mark.parametrize("name", OBJECT_INFO)


@pytest.fixture(scope="module")
def chinese(root: Path) -> dict[str, dict]:
    return json.loads((root / "locales" / "zh" / "nodeDefs.json").read_text("utf-8"))


def leaves(words: object, path: str = "") -> dict[str, str]:
    """Every text of nested objects by its path."""
    if not isinstance(words, dict):
        return {path: words}
    return {name: text for key, value in words.items() for name, text in leaves(value, f"{path}/{key}").items()}


@each_node
def test_schema_says_everything(name: str) -> None:
    assert OBJECT_INFO[name]["category"].startswith("Qwen2VL-Flux")
    assert OBJECT_INFO[name]["search_aliases"]
    for path, text in leaves(english_words(OBJECT_INFO[name])).items():
        assert text and text == text.strip(), path


@each_node
def test_schema_uses_the_words_of_comfyui(name: str) -> None:
    """But for what a node's choices are called."""
    strange = re.compile(
        r"\bpictures?\b(?! keeps)|\b(repaint|redraw)|\bshares?\b|\bline maps?\b|left open", re.IGNORECASE
    )
    for path, text in leaves(english_words(OBJECT_INFO[name])).items():
        assert not strange.search(text), path


def test_chinese_covers_the_same_nodes(chinese: dict[str, dict]) -> None:
    assert list(chinese) == list(OBJECT_INFO)


@each_node
def test_chinese_covers_every_text(name: str, chinese: dict[str, dict]) -> None:
    translated = leaves(chinese[name])
    assert sorted(translated) == sorted(leaves(english_words(OBJECT_INFO[name])))
    for path, text in translated.items():
        assert text.strip(), path
        if path.endswith(("/description", "/tooltip")):
            assert re.search(r"[\u4e00-\u9fff]", text), path


def test_chinese_holds_no_message_syntax(chinese: dict[str, dict]) -> None:
    """The interface reads these characters as placeholders, links and plurals."""
    for path, text in leaves(chinese).items():
        assert not set(text) & set("{}@|"), path


def test_help_pages_are_what_the_schemas_give(root: Path, chinese: dict[str, dict]) -> None:
    docs, seen = root / "web" / "docs", set()
    for path, page in pages(OBJECT_INFO, chinese, docs):
        assert path.read_text("utf-8") == page, f"{path.relative_to(root)} is not in step; run python3 dev.py help"
        assert 15 <= len(page.splitlines()) <= 40, path.relative_to(root)
        seen.add(path)
    assert seen == set(docs.rglob("*.md"))


def test_help_pages_keep_what_is_written(root: Path, chinese: dict[str, dict], tmp_path: Path) -> None:
    """A text that changes in the schema changes on the page, and nothing else does; a new node gets a page."""
    name = "GridDotFocus"
    node = {name: OBJECT_INFO[name]}
    written = (root / "web" / "docs" / f"{name}.md").read_text("utf-8")
    (tmp_path / f"{name}.md").write_text(written.replace(OBJECT_INFO[name]["description"], "Old."), "utf-8")
    renewed = dict(pages(node, chinese, tmp_path))
    assert renewed[tmp_path / f"{name}.md"] == written
    fresh = renewed[tmp_path / name / "zh.md"]
    assert fresh.startswith(f"# {chinese[name]['display_name']}\n\n{chinese[name]['description']}\n\n## ")
    assert fresh.count("\n| ") == 4 + 2 + 2 * 2 and fresh.endswith("\n## 提示\n")
