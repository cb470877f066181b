"""The interface's texts and help pages as a running server hands them out."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from urllib.request import urlopen

import pytest

from client.server import ComfyServer


@pytest.fixture(params=["server", "furnished"])
def pages(request: pytest.FixtureRequest) -> str:
    """Where the interface looks for help on the nodes, by whatever name the pack's folder goes in custom_nodes."""
    running: ComfyServer = request.getfixturevalue(request.param)
    with urlopen(f"{running.url}/extensions") as answer:
        (panel,) = [path for path in json.load(answer) if path.endswith("/griddot/panel.js")]
    return running.url + panel.removesuffix("griddot/panel.js") + "docs/"


def test_translations_are_merged(server, root: Path) -> None:
    with urlopen(f"{server.url}/i18n") as answer:
        translations = json.load(answer)
    own = json.loads((root / "locales" / "zh" / "nodeDefs.json").read_text("utf-8"))
    served = translations["zh"]["nodeDefs"]
    assert {name: served[name] for name in own} == own


def test_help_pages_are_served(pages: str, root: Path) -> None:
    docs = root / "web" / "docs"
    for page in docs.rglob("*.md"):
        with urlopen(pages + page.relative_to(docs).as_posix()) as answer:
            assert answer.headers.get_content_type() != "text/html"
            assert answer.read() == page.read_bytes()


def test_pictures_of_help_pages_are_served(pages: str, root: Path) -> None:
    """The interface puts the folder of the pages before each address, whatever the language."""
    texts = [page.read_text("utf-8") for page in (root / "web" / "docs").rglob("*.md")]
    pictures = {name for text in texts for name in re.findall(r"!\[[^]]+\]\(([^)]+)\)", text)}
    assert pictures
    for name in pictures:
        with urlopen(pages + name) as answer:
            assert answer.headers.get_content_maintype() == "image"


def test_the_interface_is_the_one_asked_for(server) -> None:
    """FRONTEND_ROOT, which `dev.py test --frontend` sets, else the one that comes with ComfyUI."""
    import comfyui_frontend_package

    own = Path(comfyui_frontend_package.__file__).parent / "static"
    with urlopen(server.url) as answer:
        assert answer.read() == Path(os.environ.get("FRONTEND_ROOT") or own, "index.html").read_bytes()
