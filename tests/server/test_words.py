"""The interface's texts and help pages as a running server hands them out."""

from __future__ import annotations

import json
import re
from pathlib import Path
from urllib.request import urlopen

PAGES = "/extensions/ComfyUI-Qwen2VL-Flux/docs/"  # where the interface looks for help on nodes of this folder


def test_translations_are_merged(server, root: Path) -> None:
    with urlopen(f"{server.url}/i18n") as answer:
        translations = json.load(answer)
    for language in ("en", "zh"):
        own = json.loads((root / "locales" / language / "nodeDefs.json").read_text("utf-8"))
        served = translations[language]["nodeDefs"]
        assert {name: served[name] for name in own} == own


def test_help_pages_are_served(server, root: Path) -> None:
    docs = root / "web" / "docs"
    pages = list(docs.rglob("*.md"))
    assert pages
    for page in pages:
        with urlopen(server.url + PAGES + page.relative_to(docs).as_posix()) as answer:
            assert answer.headers.get_content_type() != "text/html"
            assert answer.read() == page.read_bytes()


def test_pictures_of_help_pages_are_served(server, root: Path) -> None:
    """The interface puts the folder of the pages before each address, whatever the language."""
    texts = [page.read_text("utf-8") for page in (root / "web" / "docs").rglob("*.md")]
    pictures = {name for text in texts for name in re.findall(r"!\[[^]]+\]\(([^)]+)\)", text)}
    assert pictures
    for name in pictures:
        with urlopen(server.url + PAGES + name) as answer:
            assert answer.headers.get_content_maintype() == "image"


def test_help_pages_carry_the_names_of_nodes(client, root: Path) -> None:
    known = client.object_info()
    for page in (root / "web" / "docs").glob("*.md"):
        assert known[page.stem]["display_name"] == page.read_text("utf-8").splitlines()[0].removeprefix("# ")
