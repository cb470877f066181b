"""What tests of all panels share: mouse, keys and undo over the picture of a node, and runs from the interface."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable
from urllib.request import urlopen

import numpy as np
from interface import PATIENCE
from PIL import Image
from playwright.sync_api import Page

from client.server import ComfyServer

EDGE = 8  # canvas pixels around the picture
FOLD = 100  # ms; newer interfaces take what follows a step within 50 ms into it, sooner than a hand could
LOOK = """([zoom, offset]) => {
    Object.assign(app.canvas.ds, { scale: zoom, offset });
    app.canvas.setDirty(true, true);
}"""
WIDGET = "app.canvas.graph.getNodeById(id).widgets.find(widget => widget.name === name)"
AREA = "app.canvas.graph.getNodeById(id).widgets.at(-1).element.querySelector(`textarea[data-text='${name}']`)"
TRACKER = "app.extensionManager.workflow.activeWorkflow.changeTracker"
MARK = """id => {
    document.querySelectorAll(`[data-test='${id}']`).forEach(element => delete element.dataset.test);
    app.canvas.graph.getNodeById(id).widgets.at(-1).element.dataset.test = id;
}"""
BURST = """(canvas, [clientX, clientY, turns]) => {
    for (const deltaY of turns) {
        const how = { clientX, clientY, deltaY, bubbles: true, cancelable: true };
        canvas.dispatchEvent(new WheelEvent('wheel', how));
    }
}"""
FRAMES = """count => new Promise(done => {
    const next = left => left ? requestAnimationFrame(() => next(left - 1)) : done();
    next(count);
})"""


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


class PanelDesk:
    """The panel of one node on a page, and the mouse over its picture."""

    # Its type.
    NODE: str
    # The name of the widget that is its `text`.
    TEXT: str
    # The class of the panel's element.
    ROOT: str

    def __init__(self, page: Page, nth: int = 0):
        self.page = page
        script = """([type, nth]) => app.canvas.graph.nodes.filter(node => node.type === type)
            .sort((one, other) => one.id - other.id)[nth].id"""
        self.id = page.evaluate(script, [self.NODE, nth])  # the order of nodes changes when one is clicked

    @property
    def root(self):
        self.page.evaluate(MARK, self.id)
        return self.page.locator(f".{self.ROOT}[data-test='{self.id}']")

    @property
    def canvas(self):
        return self.root.locator(".picture-panel-canvas")

    def get(self, name: str) -> str:
        """A text of the node."""
        return self.page.evaluate(f"([id, name]) => {WIDGET}.value", [self.id, name])

    def put(self, name: str, text: str) -> None:
        """Set a text of the node as a script does, and wait until the panel has it."""
        step = "app.canvas.emitBeforeChange(); app.canvas.emitAfterChange();"  # newer interfaces fold what nobody tells
        self.page.evaluate(f"([id, name, text]) => {{ {WIDGET}.value = text; {step} }}", [self.id, name, text])
        shown = f"([id, name, text]) => {AREA}.value === text && {AREA}.isConnected"
        self.page.wait_for_function(shown, arg=[self.id, name, text])
        self.frames()

    @property
    def text(self) -> str:
        return self.get(self.TEXT)

    @text.setter
    def text(self, text: str) -> None:
        self.put(self.TEXT, text)

    def frames(self, count: int = 2) -> None:
        """Wait until the page has drawn what it knows of."""
        self.page.evaluate(FRAMES, count)

    @property
    def shown(self) -> str:
        """The text as the panel in the page has it."""
        return self.page.locator(f".{self.ROOT} textarea[data-text='{self.TEXT}']").input_value()

    def frame(self) -> tuple[float, float, float, float]:
        """Left, top, width and height of a square picture on the screen."""
        box = self.canvas.bounding_box()
        inner = self.canvas.evaluate("canvas => [canvas.clientWidth, canvas.clientHeight]")
        zoom = box["width"] / inner[0]
        side = (min(inner) - 2 * EDGE) * zoom
        return box["x"] + (box["width"] - side) / 2, box["y"] + (box["height"] - side) / 2, side, side

    def spot(self, x: float, y: float) -> tuple[tuple[int, int], float, float]:
        """The screen's pixel near a place of the picture, and that pixel's exact place."""
        left, top, width, height = self.frame()
        pixel = round(left + x * width), round(top + y * height)
        return pixel, (pixel[0] - left) / width, (pixel[1] - top) / height

    def click(self, x: float, y: float, **how: object) -> tuple[float, float]:
        pixel, x, y = self.spot(x, y)
        self.page.mouse.click(*pixel, **how)
        return x, y

    def drag(self, *places: tuple[float, float], button: str = "left") -> list[tuple[float, float]]:
        spots = [self.spot(*place) for place in places]
        self.page.mouse.move(*spots[0][0])
        self.page.mouse.down(button=button)
        for pixel, *_ in spots[1:]:
            self.page.mouse.move(*pixel, steps=4)
        self.page.mouse.up(button=button)
        return [(x, y) for _, x, y in spots]

    def wheel(self, x: float, y: float, turn: int) -> None:
        self.page.mouse.move(*self.spot(x, y)[0])
        self.page.mouse.wheel(0, turn)
        self.frames()

    def burst(self, x: float, y: float, *turns: int) -> None:
        """Turns of the wheel without a pause between them, however slow the machine."""
        self.page.wait_for_timeout(FOLD)
        self.canvas.evaluate(BURST, [*self.spot(x, y)[0], turns])

    def press(self, *keys: str) -> None:
        self.canvas.focus()
        for key in keys:
            self.page.keyboard.press(key)

    def button(self, name: str):
        return self.root.get_by_role("button", name=name)

    def settled(self) -> None:
        """Wait until the panel is in its place."""
        before = None
        while (now := self.canvas.bounding_box()) != before or not now or now["height"] < 100:
            before = now
            self.frames(10)

    def hints(self, words: str) -> None:
        """Wait for words under the picture."""
        self.root.locator(".picture-panel-hint", has_text=words).wait_for()

    @property
    def said(self) -> str:
        """What somebody is told who does not see."""
        return self.root.get_by_role("status").text_content()

    def steps(self) -> int:
        """How many steps of undo there are."""
        return self.page.evaluate(f"{TRACKER}.undoQueue.length")

    def undo(self, key: str = "z") -> None:
        """Undo with the keyboard, or redo with y, and wait until the interface has loaded what was."""
        before = self.page.evaluate(f"{TRACKER}.redoQueue.length")
        for name in ("Control", key):
            self.page.keyboard.down(name)
            self.frames()  # the interface takes a key with the next frame; a release before is a step of its own to it
        self.page.keyboard.up(key)
        self.page.keyboard.up("Control")
        done = f"count => {TRACKER}.redoQueue.length === count && !{TRACKER}._restoringState"
        self.page.wait_for_function(done, arg=before + (1 if key == "z" else -1))
        self.settled()

    def drawn(self) -> np.ndarray:
        """The picture with all that lies on it, in grey."""
        shot = Image.open(io.BytesIO(self.canvas.screenshot(animations="disabled"))).convert("L")
        return np.asarray(shot, float)[EDGE:-EDGE, EDGE:-EDGE]

    def pixel(self, x: float, y: float) -> tuple[int, ...]:
        """Colour at a place of the picture."""
        shot = Image.open(io.BytesIO(self.page.screenshot(animations="disabled"))).convert("RGB")
        return shot.getpixel(self.spot(x, y)[0])


def run(page: Page, server: ComfyServer) -> tuple[dict, dict]:
    """Press Run; the prompt that came to the server, and what its nodes show."""
    before = set(history(server))
    page.evaluate(ENDED)
    page.get_by_test_id("queue-button").click()
    page.wait_for_function("window.ended")  # all that the run tells has come to the nodes by then
    until(lambda: set(history(server)) > before)
    (new,) = set(history(server)) - before
    entry = history(server)[new]
    assert entry["status"]["status_str"] == "success", entry["status"]
    page.evaluate(FRAMES, 2)
    return entry["prompt"][2], entry["outputs"]


ENDED = """() => {
    window.ended = false;
    for (const name of ['execution_success', 'execution_error', 'execution_interrupted']) {
        app.api.addEventListener(name, () => { window.ended = true; }, { once: true });
    }
}"""


def history(server: ComfyServer) -> dict:
    with urlopen(f"{server.url}/history") as answer:
        return json.load(answer)
