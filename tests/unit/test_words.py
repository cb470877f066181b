"""Every node explains itself: in its schema, in both languages of the interface, and on a help page."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from comfy_api.latest import io
from pack import SCHEMAS

LANGUAGES = ("en", "zh")


each_node = pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS)
each_language = pytest.mark.parametrize("language", LANGUAGES)


@pytest.fixture(scope="module")
def locales(root: Path) -> dict[str, dict]:
    files = {language: root / "locales" / language / "nodeDefs.json" for language in LANGUAGES}
    return {language: json.loads(file.read_text("utf-8")) for language, file in files.items()}


def words_of(schema: io.Schema) -> dict:
    """A node's English texts in the format of ComfyUI's nodeDefs.json."""
    return {
        "display_name": schema.display_name,
        "description": schema.description,
        "inputs": {item.id: {"name": item.display_name or item.id, "tooltip": item.tooltip} for item in schema.inputs},
        "outputs": {
            str(number): {"name": item.display_name or item.io_type, "tooltip": item.tooltip}
            for number, item in enumerate(schema.outputs)
        },
    }


def leaves(words: object, path: str = "") -> dict[str, str]:
    """Every text of nested objects by its path."""
    if not isinstance(words, dict):
        return {path: words}
    return {name: text for key, value in words.items() for name, text in leaves(value, f"{path}/{key}").items()}


@each_node
def test_schema_says_everything(schema: io.Schema) -> None:
    assert schema.category.startswith("Qwen2VL-Flux")
    assert schema.search_aliases
    for path, text in leaves(words_of(schema)).items():
        assert text and text == text.strip(), path


def test_locales_cover_the_same_nodes(locales: dict[str, dict]) -> None:
    for words in locales.values():
        assert list(words) == list(SCHEMAS)


@each_node
def test_english_locale_is_the_schema(schema: io.Schema, locales: dict[str, dict]) -> None:
    assert locales["en"][schema.node_id] == words_of(schema)


@each_node
def test_chinese_locale_is_complete(schema: io.Schema, locales: dict[str, dict]) -> None:
    chinese = leaves(locales["zh"][schema.node_id])
    assert list(chinese) == list(leaves(words_of(schema)))
    for path, text in chinese.items():
        assert text.strip(), path
        if path.endswith(("/description", "/tooltip")):
            assert re.search(r"[\u4e00-\u9fff]", text), path


@each_language
def test_locales_hold_no_message_syntax(locales: dict[str, dict], language: str) -> None:
    """The interface reads these characters as placeholders, links and plurals."""
    for path, text in leaves(locales[language]).items():
        assert not set(text) & set("{}@|"), path


@each_language
@each_node
def test_help_page_names_every_input_and_output(root: Path, locales: dict, schema: io.Schema, language: str) -> None:
    name = f"{schema.node_id}.md" if language == "en" else f"{schema.node_id}/{language}.md"
    lines = (root / "web" / "docs" / name).read_text("utf-8").splitlines()
    words = locales[language][schema.node_id]
    assert lines[0] == f"# {words['display_name']}"
    assert 15 <= len(lines) <= 40
    rows = [line.split("|")[1] for line in lines if line.startswith("|")]
    for item in schema.inputs:
        assert any(f"`{item.id}`" in row for row in rows), item.id
    for item in schema.outputs:
        assert any(f"`{item.display_name or item.io_type}`" in row for row in rows), item.io_type


def test_there_is_no_page_without_a_node(root: Path) -> None:
    pages = {path.relative_to(root / "web" / "docs").as_posix() for path in (root / "web" / "docs").rglob("*.md")}
    assert pages == {name for node in SCHEMAS for name in (f"{node}.md", f"{node}/zh.md")}
