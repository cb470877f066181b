"""The GridDot panel under real mouse, keys and touch, up to the prompt that Python gets."""

from __future__ import annotations

import io
import itertools
import json
import random
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from interface import each_renderer, opened, reload
from panel_desk import ENDED, FRAMES, LOOK, TRACKER, PanelDesk, run, until
from PIL import Image
from playwright.sync_api import Browser, Page

from client.comfy_client import ComfyClient
from client.server import ComfyServer
from systems.qwen2vl_flux.dots import EXAMPLE, parse_dots
from systems.qwen2vl_flux.focus import focus_map

BUILD = """async picture => {
    [...app.graph.nodes].forEach(node => app.graph.remove(node));
    const add = (type, left, top, size) => {
        const node = LiteGraph.createNode(type);
        node.pos = [left, top];
        app.graph.add(node);
        if (size) node.setSize(size);
        return node;
    };
    const load = add('LoadImage', 0, 0, [270, 320]), loader = add('Qwen2VLLoader', 0, 420);
    const encode = add('Qwen2VLEncode', 320, 0), focus = add('GridDotFocus', 660, 0);
    const mask = add('MaskPreview', 1130, 0);
    loader.widgets[0].value = 'demo';
    load.widgets[0].value = picture;
    load.widgets[0].callback(picture);
    load.connect(0, encode, encode.findInputSlot('image'));
    loader.connect(0, encode, encode.findInputSlot('qwen2vl'));
    encode.connect(0, focus, focus.findInputSlot('tokens'));
    focus.connect(1, mask, 0);
    app.canvas.ds.scale = 1;
    app.canvas.ds.offset = [90, 130];
    app.canvas.setDirty(true, true);
    app.canvas.emitBeforeChange();
    app.canvas.emitAfterChange();
}"""
FOCUS = "app.canvas.graph.nodes.filter(node => node.type === 'GridDotFocus')"
IN_USE = "document.activeElement.className === 'picture-panel-canvas'"


def dot(x: float, y: float, r: float = 0.25, w: float = 1) -> str:
    """A dot as the panel writes it."""
    short = round(x, 4), round(y, 4), round(r, 3), round(w, 2)
    number = [int(value) if value == int(value) else value for value in short]
    return '{{"x": {}, "y": {}, "r": {}, "w": {}}}'.format(*number)


def text_of(*dots: str) -> str:
    return "[" + ",\n ".join(dots) + "]" if dots else ""


def halves(path: Path, size: tuple[int, int], left: str, right: str, **how: object) -> Path:
    """A picture of two colours."""
    picture = Image.new("RGB", size, left)
    picture.paste(right, (size[0] // 2, 0, *size))
    picture.save(path, **how)
    return path


class Desk(PanelDesk):
    NODE, TEXT, ROOT = "GridDotFocus", "dots", "griddot"


@pytest.fixture
def picture(server: ComfyServer, root: Path) -> str:
    return ComfyClient(server.url).upload_image(root / "demo" / "reference.png")


@pytest.fixture
def wide(server: ComfyServer, tmp_path: Path) -> str:
    """A picture that is green on the left, and twice as wide as high."""
    return ComfyClient(server.url).upload_image(halves(tmp_path / "wide.png", (512, 256), "green", "navy"))


def built(page: Page, picture: str) -> Desk:
    page.evaluate(BUILD, picture)
    page.wait_for_selector(".picture-panel-canvas")
    desk = Desk(page)
    desk.settled()
    return desk


@pytest.fixture
def desk(page: Page, picture: str) -> Desk:
    return built(page, picture)


def focus_in(prompt: dict) -> dict:
    (inputs,) = (entry["inputs"] for entry in prompt.values() if entry["class_type"] == "GridDotFocus")
    return inputs


def shown_map(server: ComfyServer, outputs: dict, rows: int, columns: int) -> np.ndarray:
    """The focus_map output as Preview Mask has shown it: the value in the middle of each token."""
    (image,) = (output["images"][0] for output in outputs.values() if "images" in output)
    pixels = np.asarray(Image.open(io.BytesIO(ComfyClient(server.url).fetch(image))).convert("L"))
    height, width = pixels.shape
    down = ((np.arange(rows) + 0.5) * height / rows).astype(int)
    across = ((np.arange(columns) + 0.5) * width / columns).astype(int)
    return pixels[down][:, across] / 255


def click(desk: Desk) -> str:
    return text_of(dot(*desk.click(0.3, 0.65)))


def shift_click(desk: Desk) -> str:
    desk.page.keyboard.down("Shift")
    place = desk.click(0.7, 0.35)
    desk.page.keyboard.up("Shift")
    return text_of(dot(*place, w=-1))


def drag_from_empty(desk: Desk) -> str:
    (x, y), (to_x, _) = desk.drag((0.4, 0.5), (0.6, 0.5))
    desk.page.mouse.move(5, 5)
    return text_of(dot(x, y, r=to_x - x))


def two_clicks(desk: Desk) -> str:
    return text_of(dot(*desk.click(0.3, 0.65)), dot(*desk.click(0.7, 0.35)))


def move(desk: Desk) -> str:
    x, y = desk.click(0.3, 0.3)
    (from_x, from_y), (to_x, to_y) = desk.drag((0.3, 0.3), (0.6, 0.7))
    return text_of(dot(round(x, 4) + to_x - from_x, round(y, 4) + to_y - from_y))


def move_past_the_edge(desk: Desk) -> str:
    desk.click(0.3, 0.3)
    desk.drag((0.3, 0.3), (1.02, -0.01))
    return text_of(dot(1, 0))


def right_click(desk: Desk) -> str:
    place = desk.click(0.2, 0.2)
    desk.click(0.8, 0.8)
    desk.click(0.8, 0.8, button="right")
    return text_of(dot(*place))


def wheel_over_a_dot(desk: Desk) -> str:
    place = desk.click(0.5, 0.5)
    desk.burst(0.5, 0.5, 100, 100, 100, -100)
    return text_of(dot(*place, w=0.9))


def alt_drag(desk: Desk, key: str = "Alt") -> str:
    x, y = desk.click(0.5, 0.5)
    desk.page.keyboard.down(key)
    _, (to_x, to_y) = desk.drag((0.5, 0.5), (0.9, 0.5))
    desk.page.keyboard.up(key)
    return text_of(dot(x, y, r=np.hypot(to_x - round(x, 4), to_y - round(y, 4))))


def ctrl_drag(desk: Desk) -> str:
    return alt_drag(desk, "Control")


def drag_the_handle(desk: Desk) -> str:
    x, y = desk.click(0.5, 0.5)
    desk.drag((x + 0.25, y), (0.65, y))
    _, to_x, to_y = desk.spot(0.65, y)
    return text_of(dot(x, y, r=np.hypot(to_x - round(x, 4), to_y - round(y, 4))))


def right_click_on_the_handle(desk: Desk) -> str:
    x, y = desk.click(0.5, 0.5)
    desk.click(x + 0.25, y, button="right")
    return ""


def small_dot(desk: Desk) -> str:
    """Its handle lies within reach of its centre."""
    desk.text = '[{"x": 0.5, "y": 0.5, "r": 0.01}]'
    desk.click(0.5, 0.5)
    (x, y), (to_x, to_y) = desk.drag((0.5, 0.5), (0.6, 0.7))
    desk.burst(0.6, 0.7, 100)
    return text_of(dot(0.5 + to_x - x, 0.5 + to_y - y, 0.01, 0.95))


def small_dot_removed(desk: Desk) -> str:
    desk.text = '[{"x": 0.5, "y": 0.5, "r": 0.01}]'
    desk.click(0.5, 0.5)
    desk.click(0.5, 0.5, button="right")
    return ""


def arrows(desk: Desk) -> str:
    x, y = desk.click(0.5, 0.5)
    desk.press("ArrowLeft", "ArrowLeft", "ArrowDown", "Shift+ArrowUp", "+", "-", "-")
    return text_of(dot(round(x, 4) - 0.02, round(y, 4) + 0.01 - 0.1, r=0.24))


def delete(desk: Desk) -> str:
    place = desk.click(0.2, 0.2)
    desk.click(0.8, 0.8)
    desk.press("Delete")
    return text_of(dot(*place))


def backspace(desk: Desk) -> str:
    desk.click(0.2, 0.2)
    desk.press("Backspace")
    return ""


def escape(desk: Desk) -> str:
    place = desk.click(0.2, 0.2)
    desk.press("Escape", "ArrowLeft", "Delete")  # nothing is chosen any more
    return text_of(dot(*place))


def escape_while_dragging(desk: Desk) -> str:
    x, y = desk.click(0.3, 0.3)
    desk.page.mouse.move(*desk.spot(0.3, 0.3)[0])
    desk.page.mouse.down()
    desk.page.mouse.move(*desk.spot(0.7, 0.7)[0], steps=3)
    desk.page.keyboard.press("Escape")
    desk.page.mouse.up()
    return text_of(dot(x, y))


def by_keys_alone(desk: Desk) -> str:
    desk.press("Enter", "Escape", "Enter", "PageDown", "ArrowRight", "PageDown", "ArrowLeft")
    return text_of(dot(0.51, 0.5), dot(0.49, 0.5))


def shift_enter(desk: Desk) -> str:
    desk.press("Shift+Enter")
    return text_of(dot(0.5, 0.5, w=-1))


def flip(desk: Desk) -> str:
    place = desk.click(0.5, 0.5)
    desk.page.keyboard.down("Shift")
    desk.click(0.5, 0.5)
    desk.page.keyboard.up("Shift")
    return text_of(dot(*place, w=-1))


def presets(desk: Desk) -> str:
    desk.button("Ready-made").click()
    desk.root.get_by_role("menuitem", name="Thirds").click()
    return text_of(*(dot(x, y) for y in (0.3333, 0.6667) for x in (0.3333, 0.6667)))


def invert(desk: Desk) -> str:
    desk.button("Ready-made").click()
    desk.root.get_by_role("menuitem", name="Centre", exact=True).click()
    desk.button("Invert").click()
    return text_of(dot(0.5, 0.5, r=0.5, w=-1))


def clear(desk: Desk) -> str:
    two_clicks(desk)
    desk.button("Remove all").click()
    return text_of()


def numbers(desk: Desk) -> str:
    desk.click(0.5, 0.5)
    for key, value in {"x": "0.28", "y": "0.68", "r": "0.5", "w": "0.75"}.items():
        desk.root.locator(f"[data-entry={key}]").fill(value)
        desk.page.keyboard.press("Enter")
    return text_of(dot(0.28, 0.68, 0.5, 0.75))


def numbers_of_no_dot(desk: Desk) -> str:
    desk.root.locator("[data-entry=x]").fill("7")
    desk.page.keyboard.press("Enter")
    return text_of(dot(1, 0.5))


def minus_button(desk: Desk) -> str:
    desk.button("New dots keep").click()
    one = desk.click(0.2, 0.2)
    desk.page.keyboard.down("Shift")
    other = desk.click(0.8, 0.8)
    desk.page.keyboard.up("Shift")
    return text_of(dot(*one, w=-1), dot(*other))


def typed(desk: Desk) -> str:
    desk.button("Show the dots as text").click()
    desk.root.locator("textarea").fill('[{"x": 0.123456, "y": 0.5}]')
    return '[{"x": 0.123456, "y": 0.5}]'


def typed_and_moved(desk: Desk) -> str:
    """Numbers that nobody touched stay as they were typed."""
    desk.text = '[{"x": 0.123456, "y": 0.5}, {"x": 0.8, "y": 0.5}]'
    desk.click(0.8, 0.5)
    desk.press("ArrowLeft")
    return text_of('{"x": 0.123456, "y": 0.5, "r": 0.5, "w": 1}', dot(0.79, 0.5, 0.5))


def typed_and_turned(desk: Desk) -> str:
    """Also those of the same dot."""
    desk.text = '[{"x": 0.123456, "y": 0.5, "r": 0.003, "w": 0.123}]'
    desk.burst(0.123456, 0.5, 100)
    desk.press("ArrowDown")
    return text_of('{"x": 0.123456, "y": 0.51, "r": 0.003, "w": 0.07}')


GESTURES = {  # and how many steps of undo they are
    click: 1, shift_click: 1, drag_from_empty: 1, two_clicks: 2, move: 2, move_past_the_edge: 2, right_click: 3,
    wheel_over_a_dot: 2, alt_drag: 2, ctrl_drag: 2, drag_the_handle: 2, right_click_on_the_handle: 2, small_dot: 3,
    small_dot_removed: 2, arrows: 8, delete: 3, backspace: 2, escape: 1, escape_while_dragging: 1, by_keys_alone: 4,
    shift_enter: 1, flip: 2, presets: 1, invert: 2, clear: 3, numbers: 5, numbers_of_no_dot: 1, minus_button: 2,
    typed: 1, typed_and_moved: 2, typed_and_turned: 3,
}  # fmt: skip


@each_renderer
def test_every_gesture_writes_the_text(desk: Desk, vue: bool) -> None:
    assert desk.page.evaluate("LiteGraph.vueNodesMode") == vue
    for gesture, steps in GESTURES.items():
        desk.text = ""
        desk.page.evaluate(f"() => {{ {TRACKER}.captureCanvasState(); {TRACKER}.undoQueue.length = 0; }}")
        expected = gesture(desk)
        assert desk.text == expected, gesture.__name__
        if desk.root.locator("textarea").is_visible():
            desk.button("Show the dots as text").click()
            desk.settled()
        desk.page.keyboard.press("Shift")  # ends a burst
        assert desk.steps() == steps, gesture.__name__


@each_renderer
def test_what_is_drawn_reaches_python(desk: Desk, server: ComfyServer) -> None:
    expected = text_of(dot(*desk.click(0.3, 0.65)), dot(*desk.click(0.7, 0.35)))
    desk.page.keyboard.down("Shift")
    expected = f"{expected[:-1]},\n {dot(*desk.click(0.4, 0.7), w=-1)}]"
    desk.page.keyboard.up("Shift")
    prompt, outputs = run(desk.page, server)
    inputs = focus_in(prompt)
    assert inputs["dots"] == expected == desk.text
    assert set(inputs) == {"tokens", "dots", "mode"}
    (message,) = (output["griddot"][0] for output in outputs.values() if "griddot" in output)
    grid = message["rows"], message["columns"]
    weights = focus_map(parse_dots(expected), *grid).numpy()
    assert np.abs(shown_map(server, outputs, *grid) - weights).max() <= 1 / 255  # Preview Mask cuts to 8 bits
    assert desk.page.evaluate("app.graph.serialize().nodes.find(n => n.type === 'GridDotFocus').widgets_values") == [
        expected,
        "scale",
    ]


@each_renderer
def test_painting(desk: Desk) -> None:
    desk.button("Paint").click()
    desk.drag((0.2, 0.8), (0.5, 0.5), (0.8, 0.8))
    dots = parse_dots(desk.text)
    assert len(dots) > 10 and {(each.r, each.w) for each in dots} == {(0.12, 1.0)}
    steps = [np.hypot(b.x - a.x, b.y - a.y) for a, b in itertools.pairwise(dots)]
    assert max(steps) < 0.09 and abs(dots[0].x - 0.2) < 0.01 and abs(dots[-1].x - 0.8) < 0.07
    desk.press("+", "+")
    desk.page.keyboard.down("Shift")
    desk.drag((0.5, 0.5), (0.5, 0.6))
    desk.page.keyboard.up("Shift")
    added = parse_dots(desk.text)[len(dots) :]
    assert added and {(each.r, each.w) for each in added} == {(0.14, -1.0)}
    desk.undo()
    assert parse_dots(desk.text) == dots
    assert desk.root.get_by_role("button", name="Paint").get_attribute("aria-pressed") == "true"  # as it was left
    desk.drag((0.2, 0.8), (0.5, 0.5), button="right")
    assert 0 < len(parse_dots(desk.text)) < len(dots)


@each_renderer
def test_plus_and_minus_while_painting(desk: Desk) -> None:
    """They change the chosen dot, else the brush, and the line below says which."""
    place = desk.click(0.5, 0.5)
    desk.button("Paint").click()
    radius = desk.root.locator("[data-entry=r]")
    desk.press("+")
    desk.hints("brush size")
    assert radius.input_value() == "0.13" and desk.text == text_of(dot(*place))
    desk.press("PageDown", "+")
    desk.hints("its radius")
    assert desk.text == text_of(dot(*place, r=0.26))
    desk.press("Escape")
    desk.hints("brush size")
    assert radius.input_value() == "0.13"


@each_renderer
def test_undo_and_redo(desk: Desk) -> None:
    page = desk.page
    texts = [""]
    before = desk.steps()

    def stepped() -> None:
        """One more step of undo."""
        page.wait_for_function(f"count => {TRACKER}.undoQueue.length === count", arg=before + len(texts))
        texts.append(desk.text)

    def undone(key: str, text: str) -> None:
        desk.undo(key)
        assert desk.text == desk.shown == text

    desk.click(0.3, 0.3)
    stepped()
    desk.drag((0.3, 0.3), (0.5, 0.6))
    stepped()
    desk.wheel(0.5, 0.6, 100)
    stepped()
    desk.press("Delete")
    stepped()
    assert len(set(texts[:4])) == 4 and texts[4] == ""
    for text in texts[-2::-1]:
        undone("z", text)
    for text in texts[1:]:
        undone("y", text)
    undone("z", texts[3])
    page.wait_for_function(IN_USE)  # one goes on where one was
    place = parse_dots(texts[3])[0]
    desk.click(place.x, place.y)
    desk.press("ArrowRight")
    (moved,) = parse_dots(desk.text)
    assert moved.x == pytest.approx(place.x + 0.01)


def wheel_and_delete(desk: Desk) -> list[str]:
    desk.wheel(0.5, 0.5, 100)
    turned = desk.text
    desk.press("Delete")
    return [turned, ""]


BUSY = """() => {
    const busy = () => {
        const [least, most] = [1500, 30000].map(time => performance.now() + time);
        const waits = () => navigator.scheduling.isInputPending({ includeContinuous: true });
        while (performance.now() < least || (performance.now() < most && !waits()));
    };
    addEventListener('wheel', () => setTimeout(busy), { once: true });
}"""


def wheel_while_busy(desk: Desk) -> list[str]:
    """The second turn waits until the page has time again."""
    desk.page.mouse.move(*desk.spot(0.5, 0.5)[0])
    desk.page.evaluate(BUSY)
    for _ in range(2):
        desk.page.mouse.wheel(0, 100)
    desk.frames()
    return [desk.text]


def wheel_over_two_dots(desk: Desk) -> list[str]:
    desk.click(0.2, 0.2)
    texts = [desk.text]
    for place in ((0.5, 0.5), (0.2, 0.2)):
        desk.burst(*place, 100, 100)
        texts.append(desk.text)
    return texts


def key_released_while_dragging(desk: Desk) -> list[str]:
    desk.page.keyboard.down("Alt")
    desk.page.mouse.move(*desk.spot(0.5, 0.5)[0])
    desk.page.mouse.down()
    desk.page.mouse.move(*desk.spot(0.6, 0.5)[0], steps=3)
    desk.frames()
    desk.page.keyboard.up("Alt")
    desk.page.mouse.move(*desk.spot(0.7, 0.5)[0], steps=3)
    desk.page.mouse.up()
    return [desk.text]


REPEAT = """(canvas, times) => {
    const how = { key: 'ArrowRight', repeat: true, bubbles: true, cancelable: true };
    for (let time = 0; time < times; time += 1) canvas.dispatchEvent(new KeyboardEvent('keydown', how));
}"""


def held_key(desk: Desk) -> list[str]:
    """The first press, and what follows."""
    desk.page.keyboard.down("ArrowRight")
    texts = [desk.text]
    desk.page.wait_for_timeout(100)  # a key repeats no sooner, and newer interfaces join what follows within 50 ms
    desk.canvas.evaluate(REPEAT, 5)
    texts.append(desk.text)
    desk.page.keyboard.up("ArrowRight")
    return texts


@each_renderer
@pytest.mark.parametrize(
    "gesture", [wheel_and_delete, wheel_while_busy, wheel_over_two_dots, key_released_while_dragging, held_key]
)
def test_steps_of_undo_are_whole(desk: Desk, gesture: Callable[[Desk], list[str]]) -> None:
    """However soon one thing follows the other, and somebody's Ctrl+Z follows them."""
    desk.click(0.5, 0.5)
    texts = [desk.text]
    texts += gesture(desk)
    assert len(set(texts)) == len(texts)
    for text in texts[-2::-1]:
        desk.undo()
        assert desk.text == desk.shown == text


@each_renderer
def test_copies_are_independent(desk: Desk, vue: bool) -> None:
    page = desk.page
    one = text_of(dot(*desk.click(0.3, 0.3)))
    page.keyboard.press("Control+c")
    page.mouse.move(330, 600)
    page.keyboard.press("Control+v")
    page.wait_for_function(f"{FOCUS}.length === 2")
    other = Desk(page, 1)
    other.settled()
    assert desk.text == other.text == one
    added = text_of(one[1:-1], dot(*other.click(0.7, 0.7)))
    assert (desk.text, other.text) == (one, added)
    desk.click(0.3, 0.3, button="right")
    assert (desk.text, other.text) == ("", added)


@each_renderer
def test_in_a_subgraph(desk: Desk, server: ComfyServer) -> None:
    page = desk.page
    before = text_of(dot(*desk.click(0.3, 0.3)))
    page.evaluate("""() => {
        const focus = app.graph.nodes.find(node => node.type === 'GridDotFocus');
        const { node } = app.graph.convertToSubgraph(new Set([focus]));
        app.canvas.openSubgraph(node.subgraph, node);
    }""")
    page.wait_for_function(f"{FOCUS}.length === 1 && app.canvas.graph !== app.rootGraph")
    desk = Desk(page)
    page.evaluate(LOOK, [1, [-500, 200]])
    desk.settled()
    assert desk.text == before
    until(lambda: yellow(desk.pixel(0.29, 0.71)))  # the picture is found outside
    after = text_of(before[1:-1], dot(*desk.click(0.6, 0.6)))
    assert desk.text == after
    for key, text in (("z", before), ("y", after)):
        desk.undo(key)
        assert desk.text == desk.shown == text
        page.wait_for_function(IN_USE)
    prompt, outputs = run(page, server)
    assert focus_in(prompt)["dots"] == after
    page.evaluate("app.canvas.setGraph(app.rootGraph)")
    until(lambda: page.locator(".griddot:visible").count() == 0)
    assert focus_in(page.evaluate("async () => (await app.graphToPrompt()).output"))["dots"] == after


TWIN = """() => {
    const twin = LiteGraph.createNode('GridDotFocus');
    twin.id = window.inner.id;
    twin.pos = [660, 0];
    app.graph.add(twin);
}"""
ENTER = """() => {
    const focus = app.graph.nodes.find(node => node.type === 'GridDotFocus');
    const { node } = app.graph.convertToSubgraph(new Set([focus]));
    window.inner = node.subgraph.nodes.find(each => each.type === 'GridDotFocus');
}"""
OPEN = """() => {
    const host = app.rootGraph.nodes.find(node => node.isSubgraphNode?.());
    app.canvas.openSubgraph(host.subgraph, host);
    Object.assign(app.canvas.ds, { scale: 1, offset: [-500, 200] });
    app.canvas.setDirty(true, true);
}"""
CLOSE = """() => {
    app.canvas.setGraph(app.rootGraph);
    Object.assign(app.canvas.ds, { scale: 1, offset: [90, 130] });
    app.canvas.setDirty(true, true);
}"""


@each_renderer
def test_a_node_with_the_id_of_one_in_a_subgraph(desk: Desk) -> None:
    """Older interfaces let them share their text, so that only the panel tells which it is; newer ones renumber."""
    page = desk.page
    page.evaluate(ENTER)
    page.evaluate(TWIN)
    outside = Desk(page)
    for _ in range(2):
        page.evaluate(OPEN)
        stands_alone(Desk(page))
        page.evaluate(CLOSE)
        stands_alone(outside)


def stands_alone(desk: Desk) -> None:
    """The panel of the node is on the screen, and no other."""
    desk.settled()
    until(lambda: desk.root.is_visible() and desk.page.locator(".griddot:visible").count() == 1)


UNPACK = """() => {
    app.canvas.setGraph(app.rootGraph);
    app.rootGraph.unpackSubgraph(app.rootGraph.nodes.find(node => node.isSubgraphNode?.()));
    Object.assign(app.canvas.ds, { scale: 1, offset: [90, 130] });
    app.canvas.setDirty(true, true);
}"""


@each_renderer
def test_a_subgraph_opened_at_once_and_unpacked(desk: Desk) -> None:
    text = text_of(dot(*desk.click(0.3, 0.3)))
    desk.page.evaluate(f"() => {{ ({ENTER})(); ({OPEN})(); }}")
    within = Desk(desk.page)
    stands_alone(within)
    assert within.text == text
    desk.page.evaluate(UNPACK)
    outside = Desk(desk.page)
    stands_alone(outside)
    assert outside.text == text


AGAIN = """() => {
    const before = app.graph.nodes.find(node => node.type === 'GridDotFocus');
    const { id, pos, size } = before;
    const after = LiteGraph.createNode('GridDotFocus');
    app.graph.remove(before);
    Object.assign(after, { id, pos: [...pos] });
    app.graph.add(after);
    after.setSize([...size]);
}"""


@each_renderer
def test_a_node_made_again_under_its_id(desk: Desk) -> None:
    """As other packs' menus do to mend a node."""
    desk.click(0.3, 0.3)
    before = desk.id
    desk.page.evaluate(AGAIN)
    made = Desk(desk.page)
    assert made.id == before
    stands_alone(made)
    made.text = ""  # the interface has kept it
    text = text_of(dot(*made.click(0.7, 0.7)))
    assert made.text == made.shown == text


REFRESHED = """async () => {
    const seen = new Set(), measured = Element.prototype.getBoundingClientRect;
    Element.prototype.getBoundingClientRect = function () {
        if (this.className === 'picture-panel-canvas') seen.add(this);
        return measured.call(this);
    };
    await new Promise(done => setTimeout(done, 1000));
    Element.prototype.getBoundingClientRect = measured;
    return seen.size;
}"""


@each_renderer
def test_undo_leaves_no_panel_of_a_subgraph_behind(desk: Desk) -> None:
    page = desk.page
    page.evaluate("""() => {
        const focus = app.graph.nodes.find(node => node.type === 'GridDotFocus');
        app.graph.convertToSubgraph(new Set([focus]));
    }""")
    for key in ("z", "y", "z", "y"):
        page.evaluate(f"async () => await {TRACKER}.{'undo' if key == 'z' else 'redo'}()")
    assert page.evaluate("[...app.rootGraph.subgraphs.values()].length") == 1
    until(lambda: page.evaluate(REFRESHED) == 1)


STORED = "text => Object.values(localStorage).some(draft => draft.replaceAll('\\\\', '').includes(text))"


@each_renderer
def test_reload(browser: Browser, server: ComfyServer, picture: str, vue: bool) -> None:
    with opened(browser, server, vue, **{"Comfy.Workflow.Persist": True}) as page:
        desk = built(page, picture)
        text = text_of(dot(*desk.click(0.3, 0.3)))
        page.wait_for_function(STORED, arg=text)
        reload(page)
        page.wait_for_function(f"{FOCUS}.length === 1")
        desk.settled()
        assert desk.text == text
        added = desk.click(0.6, 0.6)
        assert desk.text == text_of(text[1:-1], dot(*added))


def test_renderers_switched_live(page_of_its_own: Page, picture: str) -> None:
    page, desk = page_of_its_own, built(page_of_its_own, picture)
    text = text_of(dot(*desk.click(0.3, 0.3)))
    for vue in (True, False, True):
        page.evaluate("vue => app.extensionManager.setting.set('Comfy.VueNodes.Enabled', vue)", vue)
        page.wait_for_function("vue => LiteGraph.vueNodesMode === vue", arg=vue)
        inside = "canvas => Boolean(canvas.closest('[data-node-id]'))"
        until(lambda vue=vue, inside=inside: desk.canvas.evaluate(inside) == vue)
        desk.settled()
        text = text_of(text[1:-1], dot(*desk.click(0.3 + 0.1 * len(parse_dots(text)), 0.8)))
        assert desk.text == text
        assert page.locator(".picture-panel-canvas:visible").count() == 1
        assert page.locator("textarea:visible").count() == 0


@each_renderer
def test_zoomed_resized_and_collapsed(desk: Desk, vue: bool) -> None:
    page = desk.page
    dots: list[str] = []
    for zoom, offset in ((0.6, (200, 250)), (1.7, (-550, 100))):
        page.evaluate(LOOK, [zoom, offset])
        desk.settled()
        dots.append(dot(*desk.click(0.2 + 0.2 * zoom, 0.4)))
        assert desk.text == text_of(*dots)
        drawn = "canvas => canvas.width / canvas.getBoundingClientRect().width"
        until(lambda drawn=drawn: desk.canvas.evaluate(drawn) == pytest.approx(1, abs=0.01))  # crisp
    page.evaluate(LOOK, [1, [90, 130]])
    page.evaluate(f"() => {{ {FOCUS}[0].setSize([560, 620]); app.canvas.setDirty(true, true); }}")
    desk.settled()
    box = desk.canvas.bounding_box()
    assert box["width"] > 520 and box["height"] > 380  # the panel fills the node
    dots.append(dot(*desk.click(0.9, 0.9)))
    assert desk.text == text_of(*dots)
    page.evaluate(f"{FOCUS}[0].collapse()")
    until(lambda: page.locator(".picture-panel-canvas:visible").count() == 0)
    page.evaluate(f"{FOCUS}[0].collapse()")
    desk.settled()
    desk.click(0.9, 0.9, button="right")
    assert desk.text == text_of(*dots[:2])


@each_renderer
def test_the_wheel_beside_dots_zooms_the_graph(desk: Desk) -> None:
    desk.click(0.5, 0.5)
    text, scale = desk.text, desk.page.evaluate("app.canvas.ds.scale")
    desk.wheel(0.5, 0.5, -100)
    assert desk.page.evaluate("app.canvas.ds.scale") == scale
    desk.wheel(0.15, 0.15, -100)
    desk.page.wait_for_function("scale => app.canvas.ds.scale > scale", arg=scale)
    assert desk.text == text


@each_renderer
def test_right_click_beside_dots_opens_the_nodes_menu(desk: Desk, vue: bool) -> None:
    desk.click(0.5, 0.5, button="right")
    desk.page.get_by_role("menuitem", name="Bypass").wait_for()
    desk.page.keyboard.press("Escape")
    assert desk.text == ""


BROKEN = [
    "left side please",
    '[{"x": 0.3, "y": 2}]',
    '[{"x": 0.3, "y"',
    "<img src=x onerror=alert(1)>",
    "NaN",
    '[{"x": 1e308, "y": 0}]',
    "[" * 100_000,
]


@each_renderer
def test_broken_text_is_shown_and_kept(desk: Desk, vue: bool) -> None:
    for text in BROKEN:
        desk.text = text
        desk.root.get_by_role("alert").wait_for()
        desk.settled()
        assert desk.root.locator("textarea").input_value() == text
        assert desk.root.locator("img").count() == 0
        desk.click(0.5, 0.5)
        desk.press("Delete", "Enter")
        assert desk.text == text
    area = desk.root.locator("textarea")
    area.fill('[{"x": 0.3, "y": 0.5}]')
    assert desk.root.get_by_role("alert").count() == 0
    desk.settled()
    added = desk.click(0.8, 0.8)
    assert desk.text == text_of(dot(0.3, 0.5, 0.5), dot(*added))
    desk.text = "left side please"
    desk.button("Remove all").click()
    assert desk.text == ""
    desk.undo()
    assert desk.text == desk.shown == "left side please"


@each_renderer
def test_broken_text_is_mended_by_typing(desk: Desk) -> None:
    """The first of these keys makes it a list of dots, the second breaks it again."""
    desk.text = '[{"x": 0.3, "y": }]'
    desk.root.get_by_role("alert").wait_for()
    area = desk.root.locator("textarea")
    area.click()
    for key in ("Control+End", "ArrowLeft", "ArrowLeft"):
        desk.page.keyboard.press(key)
    desk.page.keyboard.type("0.25", delay=200)
    assert desk.text == '[{"x": 0.3, "y": 0.25}]'
    assert area.is_visible() and desk.root.get_by_role("alert").count() == 0
    shows = desk.button("Show the dots as text")
    assert shows.get_attribute("aria-pressed") == "true"
    shows.click()
    assert not area.is_visible()


def test_errors_are_said_in_chinese(page: Page, picture: str) -> None:
    speak = "language => app.extensionManager.setting.set('Comfy.Locale', language)"
    page.evaluate(speak, "zh")
    try:
        desk = built(page, picture)
        desk.text = '[{"x": 0.3, "y": [0.5]}]'
        said = desk.root.get_by_role("alert").inner_text()
    finally:
        page.evaluate(speak, "en")
    assert said == f"第 1 个点的 y 是 JSON 列表，而不是数字；请写成 {EXAMPLE}。"


def test_ten_thousand_dots(desk: Desk) -> None:
    many = [{"x": number % 100 / 400, "y": number // 100 / 400, "r": 0.02} for number in range(10_000)]
    desk.text = json.dumps(many)
    text = desk.text

    def hold() -> None:
        pen(desk, "mousePressed", 0.8, 0.8)
        desk.page.wait_for_timeout(1500)  # a long press, and that nothing comes of it
        pen(desk, "mouseReleased", 0.8, 0.8)

    def enter() -> None:
        desk.root.locator("[data-entry=x]").fill("0.8")
        desk.page.keyboard.press("Enter")

    one_more = {
        "click": lambda: desk.click(0.8, 0.8),
        "drag": lambda: desk.drag((0.8, 0.8), (0.9, 0.9)),
        "hold": hold,
        "key": lambda: desk.press("Enter"),
        "number": enter,
    }
    for name, action in one_more.items():
        action()
        assert desk.text == text, name
    assert desk.root.locator("[data-entry=x]").input_value() == ""
    desk.press("PageDown", "Delete")
    place = desk.click(0.8, 0.8)
    assert len(parse_dots(desk.text)) == 10_000 and desk.text.endswith(f"{dot(*place)}]")


COUNT = """() => {
    const work = window.work = { cells: 0, shapes: 0 };
    const root = Math.sqrt;
    Math.sqrt = value => {
        work.cells += 1;
        return root(value);
    };
    for (const { prototype } of [CanvasRenderingContext2D, OffscreenCanvasRenderingContext2D]) {
        for (const name of ['arc', 'ellipse', 'roundRect', 'drawImage']) {
            const real = prototype[name];
            prototype[name] = function (...values) {
                const { canvas } = this;
                if (canvas instanceof OffscreenCanvas || canvas.className === 'picture-panel-canvas') work.shapes += 1;
                return real.apply(this, values);
            };
        }
    }
}"""


class Work:
    """What the page does: cells of the map that it works out, shapes that the panel draws."""

    def __init__(self, desk: Desk):
        self.desk = desk
        desk.page.evaluate(COUNT)

    def of(self, action: Callable[[], object]) -> tuple[int, int]:
        self.desk.frames(4)
        self.desk.page.evaluate("Object.assign(work, { cells: 0, shapes: 0 })")
        action()
        self.desk.frames(4)
        return tuple(self.desk.page.evaluate("[work.cells, work.shapes]"))


MANY_DOTS = 9_950


def spread(desk: Desk) -> None:
    """So many dots that keep and that suppress, each over a good part of the picture, and a free place on the right."""
    place = [(number * 0.618 % 0.8, number * 0.377 % 1) for number in range(MANY_DOTS)]
    desk.text = text_of(*(dot(x, y, 0.5, (-1) ** number) for number, (x, y) in enumerate(place)))


def test_many_dots_are_worked_out_once(page_of_its_own: Page, picture: str) -> None:
    desk = built(page_of_its_own, picture)
    work = Work(desk)
    all_cells, all_shapes = work.of(lambda: spread(desk))
    assert all_cells > 1_000 * MANY_DOTS and all_shapes > MANY_DOTS

    def point() -> None:
        for share in np.linspace(0.1, 0.7, 12):
            desk.page.mouse.move(*desk.spot(share, 0.5)[0])

    def choose() -> None:
        desk.press("PageDown", "PageDown", "Escape")

    def zoom() -> None:
        desk.page.evaluate(LOOK, [0.8, [90, 130]])
        desk.settled()

    def size() -> None:
        desk.drag((0.9, 0.5), (0.95, 0.5))

    def paint() -> None:
        desk.button("Paint").click()
        desk.drag((0.95, 0.1), (0.95, 0.9))
        desk.button("Point").click()

    assert max(work.of(point)) < 1_000
    assert max(work.of(choose)) < 1_000
    assert work.of(zoom)[0] < 1_000
    cells, shapes = work.of(size)
    assert cells < 0.1 * all_cells and shapes < 1_000
    cells, _ = work.of(paint)
    assert len(parse_dots(desk.text)) > MANY_DOTS + 10 and cells < 0.1 * all_cells
    cells, _ = work.of(lambda: desk.press("PageDown", "ArrowLeft", "ArrowLeft", "ArrowLeft"))
    assert cells < 1.1 * all_cells  # once, without the one that moves


STORE = """message => {
    const focus = app.graph.nodes.find(node => node.type === 'GridDotFocus');
    app.nodeOutputs[focus.id] = { griddot: [message] };
    focus.onConnectionsChange();
}"""


@each_renderer
def test_a_stored_grid_is_nonsense(page_of_its_own: Page, picture: str) -> None:
    """A point for each token shows that a grid was taken."""
    desk = built(page_of_its_own, picture)
    work = Work(desk)
    desk.text = text_of(dot(0.5, 0.5))

    def shapes(**message: object) -> int:
        return work.of(lambda: desk.page.evaluate(STORE, message))[1]

    assert 36 <= shapes(rows=6, columns=6, dots="") < 136
    nonsense = [
        (4096, 4096), (18_433, 1), (1, 18_433), (137, 135), (135, 137), (2**40, 2**40), (0, 4), (-6, -6), (6.5, 6),
        ("6", "6"), (None, 6), ([6], [6]),
    ]  # fmt: skip
    for rows, columns in nonsense:
        cells, drawn = work.of(
            lambda rows=rows, columns=columns: desk.page.evaluate(STORE, {"rows": rows, "columns": columns, "dots": ""})
        )
        assert drawn < 36 and cells < 20_000, (rows, columns)
    mask = [[1] * 6] * 5
    assert 36 <= shapes(rows=6, columns=6, dots="", mask=mask) < 136  # without the mask
    assert shapes(rows=128, columns=128, dots="") < 36  # nobody could see them here
    cells, _ = work.of(lambda: desk.click(0.2, 0.2))
    assert cells > 1_000


@each_renderer
def test_hostile_names_are_text(page: Page, server: ComfyServer, root: Path, tmp_path: Path, vue: bool) -> None:
    name = "<img src=x onerror=document.title='owned'>&\"'#?.png"
    (tmp_path / name).write_bytes((root / "demo" / "reference.png").read_bytes())
    uploaded = ComfyClient(server.url).upload_image(tmp_path / name)
    desk = built(page, uploaded)
    page.evaluate(f"name => {{ {FOCUS}[0].title = name; }}", name)
    until(lambda: desk.pixel(0.29, 0.75)[0] > 150)  # its yellow
    desk.text = json.dumps([{"x": 0.5, "y": 0.5, name: 1}])
    desk.root.get_by_role("alert").wait_for()
    assert name[:30] in desk.root.get_by_role("alert").inner_text()
    assert desk.root.locator("img").count() == 0 and page.title() != "owned"


@each_renderer
def test_theme(desk: Desk) -> None:
    page = desk.page
    stage = desk.root.locator(".picture-panel-stage")

    def brightness() -> float:
        colour = stage.evaluate("element => getComputedStyle(element).backgroundColor")
        return sum(float(part) for part in colour.strip("rgba() ").split(",")[:3])

    dark = brightness()
    page.evaluate("app.extensionManager.setting.set('Comfy.ColorPalette', 'light')")
    until(lambda: brightness() > dark + 200)
    page.evaluate("app.extensionManager.setting.set('Comfy.ColorPalette', 'dark')")
    until(lambda: brightness() == dark)


@each_renderer
def test_without_the_script_the_node_is_text(browser: Browser, server: ComfyServer, picture: str, vue: bool) -> None:
    with opened(browser, server, vue, blocked="**/griddot/*.js") as page:
        page.evaluate(BUILD, picture)
        text = '[{"x": 0.28, "y": 0.68}]'
        page.locator("textarea:visible").fill(text)
        assert page.locator(".griddot").count() == 0
        page.mouse.click(1600, 900)
        prompt, _ = run(page, server)
        assert focus_in(prompt)["dots"] == text


def test_two_tabs(browser: Browser, server: ComfyServer, picture: str) -> None:
    context = browser.new_context(viewport={"width": 1920, "height": 1080})
    with opened(context, server, False) as one, opened(context, server, False) as other:
        desks = [built(one, picture), built(other, picture)]
        one.bring_to_front()
        first = text_of(dot(*desks[0].click(0.3, 0.3)))
        other.bring_to_front()
        second = text_of(dot(*desks[1].click(0.7, 0.7)))
        assert [desk.text for desk in desks] == [first, second]
        prompt, _ = run(other, server)
        assert focus_in(prompt)["dots"] == second
        one.bring_to_front()
        desks[0].settled()
        prompt, _ = run(one, server)
        assert focus_in(prompt)["dots"] == first
    context.close()


def unseen() -> str:
    """Dots that change next to nothing, and differ from all before, so that nothing is cached."""
    return text_of(dot(random.uniform(0.9, 1), random.uniform(0, 0.1), 0.01, -0.01))


def yellow(colour: tuple[int, ...]) -> bool:
    """Of the circle in demo/reference.png, also under shade."""
    red, green, blue = colour
    return red > 60 and green > 50 and blue < 0.6 * green


@each_renderer
def test_before_and_after_a_run(desk: Desk, server: ComfyServer) -> None:
    """A smooth map first, then that of the tokens; another picture takes the grid away again."""
    page = desk.page
    until(lambda: yellow(desk.pixel(0.29, 0.74)))
    desk.hints("whole image")
    desk.text = text_of(dot(0.72, 0.32, r=random.uniform(0.4, 0.41)))
    until(lambda: desk.pixel(0.28, 0.55)[0] < 140)  # in the shade now
    smooth = desk.drawn()
    run(page, server)
    until(lambda: np.abs(desk.drawn() - smooth).max() > 40)
    page.evaluate(CHOOSE, "example.png")
    until(lambda: not yellow(desk.pixel(0.29, 0.74)))


CHOOSE = """name => {
    const load = app.graph.nodes.find(node => node.type === 'LoadImage');
    app.canvas.emitBeforeChange();
    load.widgets[0].value = name;
    load.widgets[0].callback(name);
    app.canvas.emitAfterChange();
}"""


def green(colour: tuple[int, ...]) -> bool:
    """Of the left half of the wide picture, also under shade."""
    red, green, blue = colour
    return green > 30 and green > 2 * max(red, blue)


def dots_of_a_half(desk: Desk) -> int:
    """How many dots the left half takes: 3 of a square, also of a square grid, 9 of a picture twice as wide."""
    desk.button("Ready-made").click()
    desk.root.get_by_role("menuitem", name="Left half").click()
    return len(parse_dots(desk.text))


@each_renderer
def test_a_run_is_of_its_own_picture(desk: Desk, server: ComfyServer, picture: str, wide: str) -> None:
    """The interface copies what a run has left with each undo, and the copy is as old."""
    page = desk.page
    until(lambda: yellow(desk.pixel(0.29, 0.74)))
    desk.text = text_of(dot(0.72, 0.32, r=random.uniform(0.4, 0.41)))
    smooth = desk.drawn()
    run(page, server)
    assert dots_of_a_half(desk) == 3
    desk.undo()
    page.evaluate(CHOOSE, wide)
    for _ in range(2):
        until(lambda: green(desk.pixel(0.35, 0.5)))
        assert dots_of_a_half(desk) == 9
        desk.undo()
    page.evaluate(CHOOSE, picture)
    until(lambda: yellow(desk.pixel(0.29, 0.74)))
    until(lambda: np.abs(desk.drawn() - smooth).max() > 40)  # with the tokens of its run


def test_a_picture_chosen_while_a_run_goes_is_not_of_it(desk: Desk, server: ComfyServer, wide: str) -> None:
    begins = f"name => app.api.addEventListener('execution_start', () => ({CHOOSE})(name), {{ once: true }})"
    desk.page.evaluate(begins, wide)
    desk.text = unseen()
    run(desk.page, server)
    until(lambda: green(desk.pixel(0.35, 0.5)))
    assert dots_of_a_half(desk) == 9


TURNED = [("png", 6), ("webp", 6), ("jpg", 6), ("png", 8), ("png", 2), ("webp", 5), ("jpg", 7), ("apng", 3)]


@pytest.mark.parametrize("vue, ending, turn", [(False, *each) for each in TURNED] + [(True, *TURNED[0])])
def test_a_turned_picture_lies_as_it_is_encoded(
    page: Page, server: ComfyServer, tmp_path: Path, vue: bool, ending: str, turn: int
) -> None:
    """Before the run and after it, also where ComfyUI makes another thing of it than browsers do."""
    exif = Image.Exif()
    exif[0x0112] = turn
    path = halves(tmp_path / f"turned_{turn}.{ending}", (250, 256), "green", "navy", exif=exif)
    desk = built(page, ComfyClient(server.url).upload_image(path))
    desk.text = unseen()
    places = ((0.17, 0.6), (0.6, 0.17), (0.83, 0.6), (0.6, 0.83))  # not between the halves

    def seen() -> tuple[bool, ...]:
        return tuple(green(desk.pixel(*place)) for place in places)

    until(lambda: any(seen()))
    before = seen()
    _, outputs = run(page, server)
    (message,) = (output["griddot"][0] for output in outputs.values() if "griddot" in output)
    encoded = Image.open(io.BytesIO(ComfyClient(server.url).fetch(message["picture"]))).convert("RGB")
    wanted = tuple(green(encoded.getpixel((round(x * encoded.width), round(y * encoded.height)))) for x, y in places)
    assert before == wanted
    until(lambda: seen() == wanted)


OVERWRITE = """async ([name, bytes]) => {
    const body = new FormData();
    body.append('image', new Blob([Uint8Array.from(bytes)]), name);
    body.append('overwrite', 'true');
    await fetch('/upload/image', { method: 'POST', body });
}"""


def test_a_file_changed_under_its_name(page: Page, server: ComfyServer, tmp_path: Path) -> None:
    path = halves(tmp_path / "rewritten.png", (256, 256), "green", "navy")
    name = ComfyClient(server.url).upload_image(path)
    desk = built(page, name)
    until(lambda: green(desk.pixel(0.17, 0.5)))
    page.evaluate(OVERWRITE, [name, list(halves(path, (256, 256), "navy", "green").read_bytes())])
    desk.text = unseen()
    run(page, server)
    until(lambda: green(desk.pixel(0.83, 0.5)) and not green(desk.pixel(0.17, 0.5)))


MANY = """names => names.forEach((name, index) => {
    const [load, encode, focus] = ['LoadImage', 'Qwen2VLEncode', 'GridDotFocus'].map((type, column) => {
        const node = LiteGraph.createNode(type);
        node.pos = [400 * column, 500 * index];
        app.graph.add(node);
        return node;
    });
    load.widgets[0].value = name;
    load.connect(0, encode, encode.findInputSlot('image'));
    encode.connect(0, focus, focus.findInputSlot('tokens'));
})"""


def test_many_pictures_are_loaded_once(page_of_its_own: Page, server: ComfyServer, tmp_path: Path) -> None:
    page, client = page_of_its_own, ComfyClient(server.url)
    paths = [halves(tmp_path / f"many_{number}.png", (32 + number, 32), "green", "navy") for number in range(16)]
    asked: list[str] = []

    def count(route) -> None:
        asked.extend(re.findall(r"filename=(many_\d+)", route.request.url))
        route.continue_()

    page.route(re.compile(r"/qwen2vl_flux/loaded\?"), count)
    page.evaluate(MANY, [client.upload_image(path) for path in paths])
    until(lambda: page.evaluate(FRAMES, 10) or len(set(asked)) == len(paths))
    page.evaluate(FRAMES, 120)
    assert len(asked) == len(paths)


@each_renderer
def test_a_number_is_typed_while_a_run_ends(desk: Desk, server: ComfyServer) -> None:
    page = desk.page
    place = desk.click(0.5, 0.5)
    desk.root.locator("[data-entry=x]").press("Control+a")
    page.keyboard.type("0.2")
    page.evaluate(ENDED)
    page.evaluate("() => { app.queuePrompt(0, 1); }")
    page.wait_for_function("window.ended")
    desk.frames(10)
    page.keyboard.type("8")
    page.keyboard.press("Enter")
    assert desk.text == text_of(dot(0.28, place[1]))


SOURCES = """kind => {
    const find = type => app.graph.nodes.find(node => node.type === type);
    const load = find('LoadImage'), encode = find('Qwen2VLEncode');
    const add = (type, left, top) => {
        const node = LiteGraph.createNode(type);
        node.pos = [left, top];
        app.graph.add(node);
        return node;
    };
    const slot = encode.findInputSlot('image');
    if (kind === 'reroute') {
        const reroute = add('Reroute', 300, 300);
        load.connect(0, reroute, 0);
        reroute.connect(0, encode, slot);
    } else if (kind === 'processed') {
        const flip = add('ImageInvert', 300, 300);
        load.connect(0, flip, 0);
        flip.connect(0, encode, slot);
    } else if (kind === 'beside') {
        const flip = add('ImageInvert', 300, 300), preview = add('PreviewImage', 300, 400);
        load.connect(0, flip, 0);
        flip.connect(0, encode, slot);
        flip.connect(0, preview, 0);
    } else if (kind === 'made') {
        const empty = add('EmptyImage', 300, 300);
        Object.assign(empty.widgets.find(widget => widget.name === 'color'), { value: 0xd0b010 });
        empty.connect(0, encode, slot);
    } else if (kind === 'unlinked') {
        encode.disconnectInput(slot);
    } else if (kind === 'attention') {
        const first = add('GridDotFocus', 100, 700), focus = app.graph.nodes.find(node => node.type === 'GridDotFocus');
        encode.connect(0, first, first.findInputSlot('tokens'));
        first.widgets.find(widget => widget.name === 'mode').value = 'attention';
        first.connect(0, focus, focus.findInputSlot('tokens'));
    }
    app.canvas.setDirty(true, true);
}"""


@pytest.mark.parametrize(
    "kind, before, after",
    [
        ("straight", "picture", "picture"),
        ("reroute", "picture", "picture"),
        ("attention", "picture", "picture"),
        ("processed", "picture", "inverted"),
        ("beside", "picture", "inverted"),
        ("made", "nothing", "made"),
        ("unlinked", "nothing", None),
    ],
)
def test_where_the_picture_comes_from(desk: Desk, server: ComfyServer, kind: str, before: str, after: str | None):
    def seen() -> str:
        red, green, blue = desk.pixel(0.55, 0.74)  # the dark blue ground of the picture
        circle = desk.pixel(0.29, 0.71)  # between the points of 6 x 6 tokens
        if circle[0] > 200 and circle[2] < 80:
            return "made" if red > 150 else "picture"
        return "inverted" if circle[2] > 150 and circle[0] < 80 else "nothing"

    desk.page.evaluate(SOURCES, kind)
    desk.text = unseen()
    until(lambda: seen() == before)
    if after is None:
        desk.hints("Connect an image")
        return
    run(desk.page, server)
    until(lambda: seen() == after)


MASK = """() => {
    const focus = app.graph.nodes.find(node => node.type === 'GridDotFocus');
    const mask = LiteGraph.createNode('SolidMask');
    mask.pos = [320, 300];
    app.graph.add(mask);
    mask.widgets.find(widget => widget.name === 'value').value = 0.25;
    mask.connect(0, focus, focus.findInputSlot('mask'));
}"""


@each_renderer
def test_a_mask_joins_in_after_a_run(desk: Desk, server: ComfyServer) -> None:
    page = desk.page
    page.evaluate(MASK)
    desk.text = unseen()
    desk.hints("after a run")
    until(lambda: yellow(desk.pixel(0.29, 0.74)))
    bright = desk.pixel(0.2, 0.74)
    _, outputs = run(page, server)
    (message,) = (output["griddot"][0] for output in outputs.values() if "griddot" in output)
    assert message["mask"] == [[0.25] * message["columns"]] * message["rows"]
    until(lambda: desk.pixel(0.2, 0.74)[0] < 0.65 * bright[0])
    page.evaluate(MASK)  # another one
    desk.hints("after a run")
    until(lambda: desk.pixel(0.2, 0.74)[0] > 0.9 * bright[0])
    run(page, server)
    until(lambda: desk.pixel(0.2, 0.74)[0] < 0.65 * bright[0])
    page.evaluate(f"{FOCUS}[0].disconnectInput({FOCUS}[0].findInputSlot('mask'))")
    until(lambda: desk.pixel(0.2, 0.74)[0] > 0.9 * bright[0])


@each_renderer
def test_dots_from_another_node_are_shown_and_left_alone(desk: Desk, server: ComfyServer) -> None:
    page, text = desk.page, unseen()
    menu = desk.root.locator(".griddot-menu")
    desk.button("Ready-made").click()
    assert menu.is_visible()
    page.evaluate(
        """text => {
        const focus = app.graph.nodes.find(node => node.type === 'GridDotFocus');
        const words = LiteGraph.createNode('PrimitiveStringMultiline');
        words.pos = [320, 300];
        app.graph.add(words);
        words.widgets[0].value = text;
        words.connect(0, focus, focus.findInputSlot('dots'));
    }""",
        text,
    )
    desk.hints("another node")
    assert not menu.is_visible()
    desk.click(0.5, 0.5)
    assert "another node" in desk.said
    desk.press("Enter")
    desk.button("Show the dots as text").click()
    assert desk.text == "" and desk.root.locator("textarea").get_attribute("readonly") is not None
    run(page, server)
    until(lambda: desk.shown == text)
    assert desk.text == ""


@each_renderer
def test_what_is_told_to_who_does_not_see(desk: Desk) -> None:
    for place in ((0.2, 0.2), (0.5, 0.5), (0.8, 0.8)):
        desk.click(*place)
    assert desk.said.startswith("Dot 3 of 3: x ")
    desk.press("Delete")
    assert desk.said == "Removed. Dots left: 2"
    desk.click(0.5, 0.5, button="right")
    assert desk.said == "Removed. Dots left: 1"
    desk.press("PageDown")
    assert desk.said.startswith("Dot 1 of 1")
    desk.button("Remove all").click()
    assert desk.said == "Removed. Dots left: 0"


@each_renderer
def test_the_menu_closes(desk: Desk) -> None:
    menu, opens = desk.root.locator(".griddot-menu"), desk.button("Ready-made")
    opens.click()
    assert menu.is_visible() and opens.get_attribute("aria-expanded") == "true"
    desk.page.keyboard.press("Escape")
    assert not menu.is_visible() and opens.evaluate("button => document.activeElement === button")
    opens.click()
    desk.page.mouse.click(1600, 900)
    assert not menu.is_visible() and opens.get_attribute("aria-expanded") == "false"


def pen(desk: Desk, kind: str, *place: float) -> tuple[float, float]:
    (left, top), x, y = desk.spot(*place)
    sent = desk.page.context.new_cdp_session(desk.page)
    button = {"button": "left", "buttons": 1, "clickCount": 1, "pointerType": "pen"}
    sent.send("Input.dispatchMouseEvent", {"type": kind, "x": left, "y": top, **button})
    sent.detach()
    return x, y


@each_renderer
def test_a_pen(desk: Desk) -> None:
    """It is held still like a finger; a mouse is not."""
    pixel, *_ = desk.spot(0.2, 0.2)
    desk.page.mouse.move(*pixel)
    desk.page.mouse.down()
    desk.page.wait_for_timeout(1000)
    assert desk.text == ""
    desk.page.keyboard.press("Escape")
    desk.page.mouse.up()
    place = pen(desk, "mousePressed", 0.6, 0.6)
    until(lambda: desk.text == text_of(dot(*place, w=-1)))
    pen(desk, "mouseReleased", 0.6, 0.6)
    pen(desk, "mousePressed", 0.6, 0.6)
    until(lambda: desk.text == "")
    pen(desk, "mouseReleased", 0.6, 0.6)
    place = pen(desk, "mousePressed", 0.3, 0.3)
    pen(desk, "mouseReleased", 0.3, 0.3)
    assert desk.text == text_of(dot(*place))


def test_fingers(browser: Browser, server: ComfyServer, picture: str) -> None:
    context = browser.new_context(viewport={"width": 1920, "height": 1080}, has_touch=True)
    with opened(context, server, False) as page:
        desk = built(page, picture)
        sent = context.new_cdp_session(page)

        def finger(kind: str, *place: float) -> tuple[float, float]:
            (left, top), x, y = desk.spot(*place) if place else ((0, 0), 0, 0)
            points = [{"x": left, "y": top, "id": 1}] if place else []
            sent.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
            return x, y

        first = finger("touchStart", 0.3, 0.3)
        finger("touchEnd")
        assert desk.text == text_of(dot(*first))
        x, y = finger("touchStart", 0.6, 0.6)
        for share in (0.65, 0.7, 0.75):
            to_x, _ = finger("touchMove", share, 0.6)
        finger("touchEnd")
        sized = dot(x, y, r=to_x - x)
        assert desk.text == text_of(dot(*first), sized)
        finger("touchStart", 0.3, 0.3)
        until(lambda: desk.text == text_of(sized))  # a long press has removed it
        finger("touchEnd")
        place = finger("touchStart", 0.2, 0.8)
        until(lambda: desk.text == text_of(sized, dot(*place, w=-1)))
        finger("touchEnd")
        assert desk.text == text_of(sized, dot(*place, w=-1))
        page.evaluate("document.activeElement.blur()")
        desk.undo()
        assert desk.text == desk.shown == text_of(sized)
    context.close()


@each_renderer
def test_two_panels_in_one_graph(desk: Desk, server: ComfyServer) -> None:
    page = desk.page
    page.evaluate("""() => {
        const [encode, other] = ['Qwen2VLEncode', 'GridDotFocus'].map(type => {
            const found = app.graph.nodes.find(node => node.type === type);
            if (type === 'Qwen2VLEncode') return found;
            const made = LiteGraph.createNode(type);
            made.pos = [660, 500];
            app.graph.add(made);
            return made;
        });
        encode.connect(0, other, other.findInputSlot('tokens'));
        const mask = LiteGraph.createNode('MaskPreview');
        mask.pos = [1130, 500];
        app.graph.add(mask);
        other.connect(1, mask, 0);
    }""")
    other = Desk(page, 1)
    other.settled()
    one, two = text_of(dot(*desk.click(0.3, 0.3))), text_of(dot(*other.click(0.7, 0.7)))
    assert (desk.text, other.text) == (one, two)
    desk.click(0.6, 0.6)
    desk.press("Delete")
    assert (desk.text, other.text) == (one, two)
    prompt, _ = run(page, server)
    assert {entry["inputs"]["dots"] for entry in prompt.values() if entry["class_type"] == "GridDotFocus"} == {one, two}


def test_words_of_the_panel_are_in_both_languages(page: Page) -> None:
    languages = page.evaluate("""async () => {
        const found = performance.getEntriesByType('resource').find(each => each.name.endsWith('/griddot/words.js'));
        return (await import(found.name)).LANGUAGES;
    }""")
    assert list(languages["en"]) == list(languages["zh"])
    for key, english in languages["en"].items():
        chinese = languages["zh"][key]
        assert chinese != english or not english.replace("{x}", "").replace("{y}", "").strip("xy ·")
        assert sorted(part.split("}")[0] for part in english.split("{")[1:]) == sorted(
            part.split("}")[0] for part in chinese.split("{")[1:]
        )


ARROWS = ("ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown")
KEYS_CALLED = {
    "en": {"meta": "Cmd", **dict.fromkeys(ARROWS, "arrows")},
    "zh": {"meta": "Cmd", "Enter": "回车", **dict.fromkeys(ARROWS, "方向键")},
}


@pytest.mark.parametrize("language, page", [("en", "GridDotFocus.md"), ("zh", "GridDotFocus/zh.md")])
def test_help_pages_name_every_key(root: Path, language: str, page: str) -> None:
    code = (root / "web" / "griddot" / "gestures.js").read_text("utf-8")
    actions = code.split("\n  actions(event) {")[1].split("\n  }\n")[0]
    keys = set(re.findall(r"\b([A-Z]\w+)(?:: (?:add|turn|remove|\(\))| = \(\))", actions))
    assert len(keys) == 10, keys
    keys.update(re.findall(r"event\.(\w+)Key", code))
    _, _, panel, *_ = (root / "web" / "docs" / page).read_text("utf-8").lower().replace(" ", "").split("\n##")
    for key in keys:
        assert KEYS_CALLED[language].get(key, key).lower() in panel, key
