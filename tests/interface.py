"""ComfyUI's interface, opened as somebody does who has greeted it before."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from urllib.request import Request, urlopen
from weakref import WeakKeyDictionary

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from client.server import ComfyServer

PATIENCE = 120.0

each_renderer = pytest.mark.parametrize("vue", [False, True], ids=["litegraph", "vue"])


class Pages:
    """The interface in each renderer, opened when a test first asks for it, and emptied for each that follows."""

    def __init__(self, browser: Browser, server: ComfyServer):
        self._browser, self._server = browser, server
        self._open: dict[bool, tuple[AbstractContextManager[Page], Page]] = {}

    def get(self, vue: bool) -> Page:
        """The page of a renderer with nothing in its graph, nothing to undo, and the mouse in a corner."""
        if vue not in self._open:
            opening = opened(self._browser, self._server, vue)
            self._open[vue] = opening, opening.__enter__()
        page = self._open[vue][1]
        page.mouse.move(5, 5)
        page.evaluate(EMPTY)
        page.wait_for_function(LOADED)
        return page

    def check(self, vue: bool) -> None:
        """Fail for what the page has thrown or logged since it was asked for, as `opened` does."""
        assert not _complaints[self._open[vue][1]].taken()

    def close(self, vue: bool) -> None:
        """Close a page whose test failed, in whatever state it is."""
        opening, page = self._open.pop(vue)
        _complaints[page].taken()
        opening.__exit__(None, None, None)

    def close_all(self) -> None:
        for vue in [*self._open]:
            self.close(vue)


# The steps of somebody who begins a new workflow and closes all other tabs.
EMPTY = """async () => {
    const { command, workflow } = app.extensionManager;
    await command.execute('Comfy.NewBlankWorkflow');
    for (const other of workflow.openWorkflows.filter(each => each !== workflow.activeWorkflow)) {
        await workflow.closeWorkflow(other);
    }
}"""


@contextmanager
def opened(
    browser: Browser | BrowserContext, server: ComfyServer, vue: bool, blocked: str = "", **settings: object
) -> Iterator[Page]:
    """A page with the interface; requests for addresses like `blocked` fail.

    What runs under it fails when the page throws, or logs an error after the interface has come up.
    """
    wanted = {"Comfy.TutorialCompleted": True, "Comfy.VueNodes.Enabled": vue, "Comfy.ColorPalette": "dark", **settings}
    body = json.dumps(wanted).encode()
    urlopen(Request(f"{server.url}/settings", body, {"Content-Type": "application/json"})).close()
    page = browser.new_page(**({} if isinstance(browser, BrowserContext) else {"viewport": WINDOW}))
    page.set_default_timeout(PATIENCE * 1000)
    complaints = _complaints[page] = Complaints()
    page.on("pageerror", lambda error: complaints.thrown.append(str(error)))
    if blocked:
        page.route(blocked, lambda route: route.abort())
    page.goto(server.url)
    await_interface(page)
    page.on("console", lambda said: complaints.logged.append(error_text(said)) if is_error(said) else None)
    yield page
    page.close()
    assert not complaints.taken()


@dataclass
class Complaints:
    """What a page has thrown, and what it has logged as an error."""

    thrown: list[str] = field(default_factory=list)
    logged: list[str] = field(default_factory=list)

    def taken(self) -> list[str]:
        """All of them, which are then told."""
        told = self.thrown + self.logged
        self.thrown.clear()
        self.logged.clear()
        return told


_complaints: WeakKeyDictionary[Page, Complaints] = WeakKeyDictionary()


def reload(page: Page) -> None:
    """Load the interface again, which logs errors of its own while it comes up."""
    logged = _complaints[page].logged
    before = len(logged)
    page.reload()
    await_interface(page)
    page.wait_for_timeout(1000)
    del logged[before:]


WINDOW = {"width": 1920, "height": 1080}


# while its first workflow loads, the interface takes no steps of undo, and puts that over what is there already
LOADED = """() => window.app?.extensionManager?.spinner === false && app.extensionManager.workflow.activeWorkflow
    && window.LiteGraph && !comfyAPI.changeTracker.ChangeTracker.isLoadingGraph"""


def await_interface(page: Page) -> None:
    page.wait_for_function(LOADED)
    page.get_by_role("button", name="Templates").wait_for()


def error_text(said) -> str:
    """A console message with the file that it comes from."""
    return f"{said.text} ({said.location['url']})"


def is_error(said) -> bool:
    """Whether a console message is an error, other than one about a host that cannot be reached from here."""
    return said.type == "error" and "net::ERR_" not in said.text
