"""A headless Chromium for the tests of what people see."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from interface import Pages, opened
from playwright.sync_api import Browser, Page, sync_playwright

from client.server import ComfyServer

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")  # while it lives, asyncio.run does not work in this thread
def browser() -> Iterator[Browser]:
    executable = next(filter(None, map(shutil.which, NAMES)), None)
    assert executable, "There is no Chromium on PATH; `python3 dev.py test` installs it"
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        yield running
        running.close()


@pytest.fixture
def vue() -> bool:
    """Whether nodes are drawn by Vue; tests of both renderers parametrize it."""
    return False


@pytest.fixture(scope="module")
def pages(browser: Browser, server: ComfyServer, example: str) -> Iterator[Pages]:
    """The pages of a module's tests, with the picture that the workflows open in the input folder."""
    pages = Pages(browser, server)
    yield pages
    pages.close_all()


@pytest.fixture
def page(pages: Pages, vue: bool, request: pytest.FixtureRequest) -> Iterator[Page]:
    """The interface, past its first greeting, with an empty graph. A failure costs its page, so that what comes next
    does not meet what is left of it."""
    before = request.session.testsfailed
    yield pages.get(vue)
    if request.session.testsfailed > before:
        pages.close(vue)
    else:
        pages.check(vue)


@pytest.fixture
def page_of_its_own(browser: Browser, server: ComfyServer, example: str, vue: bool) -> Iterator[Page]:
    """The same for one test, which changes what a new graph does not bring back."""
    with opened(browser, server, vue) as page:
        yield page
