"""ComfyUI's interface, opened as somebody does who has greeted it before."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.request import Request, urlopen
from weakref import WeakKeyDictionary

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from client.server import ComfyServer

PATIENCE = 60.0

each_renderer = pytest.mark.parametrize("vue", [False, True], ids=["litegraph", "vue"])


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
    thrown: list[str] = []
    page.on("pageerror", lambda error: thrown.append(str(error)))
    if blocked:
        page.route(blocked, lambda route: route.abort())
    page.goto(server.url)
    await_interface(page)
    logged: list[str] = []
    page.on("console", lambda said: logged.append(f"{said.text} ({said.location['url']})") if is_error(said) else None)
    _logged[page] = logged
    yield page
    page.close()
    assert not thrown + logged


_logged: WeakKeyDictionary[Page, list[str]] = WeakKeyDictionary()


def reload(page: Page) -> None:
    """Load the interface again, which logs errors of its own while it comes up."""
    logged = _logged[page]
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


def is_error(said) -> bool:
    """Whether a console message is an error, other than one about a host that cannot be reached from here."""
    return said.type == "error" and "net::ERR_" not in said.text
