"""The panel of SAM 2 Segment under real mouse and keys, up to the mask that Python makes of it."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from annotator_weights import write_sam2
from interface import each_renderer, opened
from panel_desk import LOOK, PanelDesk, run, until
from PIL import Image
from playwright.sync_api import Browser, Page

from client.comfy_client import ComfyClient
from client.qwen2vl_flux.graph import node
from client.server import ComfyServer
from systems.annotators.sam2.points import MOST_BOXES, MOST_POINTS, in_fractions, parse_boxes, parse_points
from systems.common.errors import InputError

SAM2 = "sam2.1_panel_tiny.safetensors"
SIDE = 1536  # of the picture, more than is shown
BUILD = """async ([picture, file]) => {
    [...app.graph.nodes].forEach(node => app.graph.remove(node));
    const add = (type, left, top, size) => {
        const node = LiteGraph.createNode(type);
        node.pos = [left, top];
        app.graph.add(node);
        if (size) node.setSize(size);
        return node;
    };
    const load = add('LoadImage', 0, 0, [270, 320]), loader = add('Qwen2VLFluxSAM2Loader', 0, 420);
    const segment = add('Qwen2VLFluxSAM2Segment', 320, 0, [420, 620]), mask = add('MaskPreview', 800, 0);
    loader.widgets[0].value = file;
    load.widgets[0].value = picture;
    load.widgets[0].callback(picture);
    load.connect(0, segment, segment.findInputSlot('image'));
    loader.connect(0, segment, segment.findInputSlot('sam2'));
    segment.connect(0, mask, 0);
    Object.assign(app.canvas.ds, { scale: 1, offset: [90, 130] });
    app.canvas.setDirty(true, true);
    app.canvas.emitBeforeChange();
    app.canvas.emitAfterChange();
}"""
SEGMENTS = "app.canvas.graph.nodes.filter(node => node.type === 'Qwen2VLFluxSAM2Segment')"
CHOOSE = """([id, value]) => {
    app.canvas.graph.getNodeById(id).widgets.find(widget => widget.name === 'coordinates').value = value;
}"""


class Desk(PanelDesk):
    NODE, TEXT, ROOT = "Qwen2VLFluxSAM2Segment", "points", "sam2-panel"

    @property
    def box(self) -> str:
        return self.get("box")

    @box.setter
    def box(self, text: str) -> None:
        self.put("box", text)

    @property
    def texts(self) -> tuple[str, str]:
        """Points and box as the node has them; the panel shows the same."""
        texts = self.text, self.box
        shown = [self.root.locator(f"textarea[data-text={name}]").input_value() for name in ("points", "box")]
        assert shown == list(texts)
        return texts

    def marked(self, x: float, y: float) -> bool:
        """Whether the blue of a point on the object or of a box is drawn there, within 2 pixels."""
        left, top = self.spot(x, y)[0]
        shot = Image.open(io.BytesIO(self.page.screenshot(animations="disabled"))).convert("RGB")
        red, _, blue = np.asarray(shot, int)[top - 2 : top + 3, left - 2 : left + 3].reshape(-1, 3).T
        return bool(((blue > 190) & (red < 140)).any())

    def shift(self, act: Callable[[], object]) -> object:
        self.page.keyboard.down("Shift")
        result = act()
        self.page.keyboard.up("Shift")
        return result


def point(x: float, y: float, label: int = 1, decimals: int = 4) -> str:
    """A point as the panel writes it."""
    return f'{{"x": {_short(x, decimals)}, "y": {_short(y, decimals)}, "label": {label}}}'


def box_of(*corners: float, decimals: int = 4) -> str:
    return f"[{', '.join(_short(value, decimals) for value in corners)}]"


def points_of(*points: str) -> str:
    return "[" + ",\n ".join(points) + "]"


def _short(value: float, decimals: int) -> str:
    return f"{round(value, decimals):.{decimals}f}".rstrip("0").rstrip(".") if decimals else str(round(value))


@pytest.fixture(scope="module", autouse=True)
def weights(sam2_folder: Path) -> Iterator[None]:
    write_sam2(sam2_folder / SAM2)
    yield
    (sam2_folder / SAM2).unlink()


@pytest.fixture
def picture(server: ComfyServer, tmp_path: Path) -> str:
    """A square of green left and navy right, larger than the panel gets it."""
    large = Image.new("RGB", (SIDE, SIDE), "green")
    large.paste("navy", (SIDE // 2, 0, SIDE, SIDE))
    large.save(tmp_path / "sam2_panel.png")
    return ComfyClient(server.url).upload_image(tmp_path / "sam2_panel.png")


def built(page: Page, picture: str) -> Desk:
    page.evaluate(BUILD, [picture, SAM2])
    page.wait_for_selector(".sam2-panel .picture-panel-canvas")
    desk = Desk(page)
    desk.settled()
    until(lambda: green(desk.pixel(0.1, 0.9)))
    return desk


@pytest.fixture
def desk(page: Page, picture: str) -> Desk:
    return built(page, picture)


def green(colour: tuple[int, ...]) -> bool:
    return colour[1] > 90 and max(colour[0], colour[2]) < 60


def click(desk: Desk) -> tuple[str, str]:
    return points_of(point(*desk.click(0.3, 0.65))), ""


def shift_click(desk: Desk) -> tuple[str, str]:
    return points_of(point(*desk.shift(lambda: desk.click(0.7, 0.35)), label=0)), ""


def right_click(desk: Desk) -> tuple[str, str]:
    first = point(*desk.click(0.3, 0.3))
    return points_of(first, point(*desk.click(0.7, 0.35, button="right"), label=0)), ""


def minus_button(desk: Desk) -> tuple[str, str]:
    desk.button("New points lie on the object").click()
    beside = point(*desk.click(0.2, 0.2), label=0)
    on = point(*desk.click(0.8, 0.2, button="right"), label=1)
    desk.button("New points lie beside").click()
    return points_of(beside, on), ""


def drag_a_box(desk: Desk) -> tuple[str, str]:
    (x, y), *_, (to_x, to_y) = desk.drag((0.6, 0.8), (0.4, 0.5), (0.2, 0.3))
    return "", box_of(to_x, to_y, x, y)


def two_boxes_and_a_point(desk: Desk) -> tuple[str, str]:
    first, second = (sum(desk.drag(*ends), ()) for ends in [((0.1, 0.1), (0.4, 0.5)), ((0.5, 0.5), (1.1, 0.9))])
    within = point(*desk.click(0.2, 0.3))
    return points_of(within), f"[{box_of(*first)},\n {box_of(*second[:2], 1, second[3])}]"


def move(desk: Desk) -> tuple[str, str]:
    x, y = desk.click(0.3, 0.3)
    (from_x, from_y), (to_x, to_y) = desk.drag((0.3, 0.3), (0.6, 0.7))
    return points_of(point(round(x, 4) + to_x - from_x, round(y, 4) + to_y - from_y)), ""


def move_past_the_edge(desk: Desk) -> tuple[str, str]:
    desk.click(0.3, 0.3)
    desk.drag((0.3, 0.3), (1.02, -0.01))
    return points_of(point(1, 0)), ""


def click_on_a_point(desk: Desk) -> tuple[str, str]:
    kept = point(*desk.click(0.2, 0.2))
    desk.click(0.8, 0.8)
    desk.click(0.8, 0.8)
    return points_of(kept), ""


def shift_click_on_a_point(desk: Desk) -> tuple[str, str]:
    place = desk.click(0.2, 0.2)
    desk.shift(lambda: desk.click(0.2, 0.2))
    return points_of(point(*place, label=0)), ""


def delete(desk: Desk) -> tuple[str, str]:
    kept = point(*desk.click(0.2, 0.2))
    desk.click(0.8, 0.8)
    desk.press("Delete")
    return points_of(kept), ""


def right_click_on_a_box(desk: Desk) -> tuple[str, str]:
    desk.drag((0.2, 0.3), (0.6, 0.8))
    desk.click(0.4, 0.3, button="right")
    return "", ""


def delete_a_box(desk: Desk) -> tuple[str, str]:
    desk.drag((0.2, 0.3), (0.6, 0.8))
    desk.press("Escape")
    desk.click(0.4, 0.3)
    desk.press("Backspace")
    return "", ""


def corner(desk: Desk) -> tuple[str, str]:
    """Pulled past the opposite one."""
    desk.box = "[0.4, 0.4, 0.6, 0.6]"
    _, (to_x, to_y) = desk.drag((0.4, 0.4), (0.9, 0.8))
    return "", box_of(0.6, 0.6, to_x, to_y)


def edge(desk: Desk) -> tuple[str, str]:
    """It moves the box, no farther than the picture."""
    desk.box = "[0.4, 0.4, 0.6, 0.7]"
    (_, from_y), (_, to_y) = desk.drag((0.5, 0.4), (0.05, 0.3))
    return "", box_of(0, 0.4 + to_y - from_y, 0.2, 0.7 + to_y - from_y)


GESTURES = [
    click, shift_click, right_click, minus_button, drag_a_box, two_boxes_and_a_point, move, move_past_the_edge,
    click_on_a_point, shift_click_on_a_point, delete, right_click_on_a_box, delete_a_box, corner, edge,
]  # fmt: skip


@each_renderer
def test_every_gesture_writes_the_texts(desk: Desk) -> None:
    for gesture in GESTURES:
        if desk.texts != ("", ""):
            desk.button("Remove all").click()
        assert desk.texts == ("", ""), gesture.__name__
        desk.page.mouse.move(5, 5)
        expected = gesture(desk)
        assert desk.texts == expected, gesture.__name__


@each_renderer
def test_undo_and_redo(desk: Desk) -> None:
    states = [desk.texts]
    for act in (
        lambda: desk.click(0.3, 0.3),
        lambda: desk.drag((0.5, 0.5), (0.8, 0.9)),
        lambda: desk.drag((0.3, 0.3), (0.2, 0.6)),
        lambda: desk.click(0.2, 0.6),
    ):
        act()
        states.append(desk.texts)
        desk.page.wait_for_timeout(100)
    assert len(set(states)) == len(states)
    for state in states[-2::-1]:
        desk.undo()
        assert desk.texts == state
    for state in states[1:]:
        desk.undo("y")
        assert desk.texts == state


@each_renderer
def test_texts_of_others_are_shown_and_kept(desk: Desk) -> None:
    """Typed by hand and set by a script; what is not touched stays as it was written."""
    points = '[{"y":0.25,"x":0.75}]'
    desk.button("Show points and boxes as text").click()
    desk.root.locator("textarea[data-text=points]").fill(points)
    desk.box = "[[0.1,0.6,0.4,0.9]]"
    desk.page.mouse.move(5, 5)
    until(lambda: desk.marked(0.75, 0.25) and desk.marked(0.25, 0.6))
    assert not desk.marked(0.25, 0.7) and not desk.marked(0.25, 0.25)
    _, (x, y) = desk.drag((0.4, 0.9), (0.5, 0.95))
    assert desk.texts == (points, box_of(0.1, 0.6, x, y))
    added = point(*desk.click(0.2, 0.2))
    assert desk.texts == (points_of(point(0.75, 0.25), added), box_of(0.1, 0.6, x, y))


@each_renderer
def test_pixels(desk: Desk) -> None:
    """They count in the picture as it comes in, not in the smaller one that is shown."""
    with desk.page.expect_response("**/qwen2vl_flux/loaded**"):  # with the size
        desk.page.evaluate(CHOOSE, [desk.id, "pixels"])
    until(lambda: desk.button("New points lie").is_enabled())
    place = point(*(share * SIDE for share in desk.click(0.3, 0.65)), decimals=0)
    corners = [share * SIDE for spot in desk.drag((0.5, 0.5), (0.75, 0.9)) for share in spot]
    assert desk.texts == (points_of(place), box_of(*corners, decimals=0))
    assert parse_boxes(desk.box, "pixels")[0].x1 > 1024
    written = '[{"x": 768, "y": 384, "width": 384.5, "height": 384, "label": "a dog", "score": 0.9}]'
    desk.box = written
    until(lambda: desk.marked(0.6, 0.25))
    desk.drag((0.3, 0.65), (0.2, 0.2))
    assert desk.box == written and desk.text != points_of(place)
    desk.box = f"[0, 0, {SIDE + 1}, 10]"
    assert "outside of the image of 1536 x 1536 pixels" in desk.root.get_by_role("alert").inner_text()


RESIZE = """() => {
    const find = type => app.graph.nodes.find(node => node.type === type);
    const [load, segment] = [find('LoadImage'), find('Qwen2VLFluxSAM2Segment')];
    const [scale, preview] = ['ImageScaleBy', 'PreviewImage'].map((type, index) => {
        const node = LiteGraph.createNode(type);
        node.pos = [index * 800, 560];
        app.graph.add(node);
        return node;
    });
    scale.widgets.find(widget => widget.name === 'scale_by').value = 0.5;
    load.connect(0, scale, 0);
    scale.connect(0, segment, segment.findInputSlot('image'));
    scale.connect(0, preview, 0);
}"""


def test_pixels_of_a_size_that_is_not_known(desk: Desk, server: ComfyServer) -> None:
    """A node between makes another picture of it; what is written stays. A preview of that one tells the size."""
    desk.page.evaluate(CHOOSE, [desk.id, "pixels"])
    desk.page.evaluate(RESIZE)
    desk.text = '[{"x": 150, "y": 3}]'
    desk.hints("image's size")
    desk.click(0.5, 0.5)
    desk.press("Delete", "Enter")
    assert desk.text == '[{"x": 150, "y": 3}]'
    run(desk.page, server)
    until(lambda: desk.button("New points lie").is_enabled())
    place = point(*(share * SIDE / 2 for share in desk.click(0.8, 0.8)), decimals=0)
    assert desk.text == points_of(point(150, 3), place)


BROKEN = [
    ("points", "left side please"),
    ("points", '[{"x": 0.3, "y": 2}]'),
    ("points", '[{"x": 0.3, "y": 0.2, "label": 2}]'),
    ("box", "[0.6, 0.2, 0.1, 0.9]"),
    ("box", "<img src=x onerror=alert(1)>"),
]


@each_renderer
def test_broken_text_is_told_and_kept(desk: Desk) -> None:
    alert = desk.root.get_by_role("alert")
    for name, text in BROKEN:
        desk.put(name, text)
        alert.wait_for()
        desk.settled()
        assert desk.root.locator(f"textarea[data-text={name}]").is_visible()
        desk.click(0.5, 0.5)
        desk.press("Delete", "Enter")
        assert desk.get(name) == text and desk.root.locator("img").count() == 0
        other = "box" if name == "points" else "points"
        assert desk.get(other) == ""
        desk.put(name, "")
    desk.text, desk.box = "left side please", "[0.1, 0.1, 0.2, 0.2]"
    desk.root.locator("textarea[data-text=points]").fill('[{"x": 0.3, "y": 0.5}]')
    assert alert.count() == 0
    desk.settled()
    added = desk.click(0.8, 0.8)
    assert desk.texts == (points_of(point(0.3, 0.5), point(*added)), "[0.1, 0.1, 0.2, 0.2]")


@each_renderer
def test_in_a_subgraph(desk: Desk) -> None:
    page = desk.page
    before = point(*desk.click(0.3, 0.3))
    page.evaluate("""() => {
        const segment = app.graph.nodes.find(node => node.type === 'Qwen2VLFluxSAM2Segment');
        const { node } = app.graph.convertToSubgraph(new Set([segment]));
        app.canvas.openSubgraph(node.subgraph, node);
    }""")
    page.wait_for_function(f"{SEGMENTS}.length === 1 && app.canvas.graph !== app.rootGraph")
    desk = Desk(page)
    page.evaluate(LOOK, [1, [-100, 150]])
    desk.settled()
    until(lambda: green(desk.pixel(0.1, 0.9)))  # the picture is found outside
    assert desk.texts == (points_of(before), "")
    after = points_of(before, point(*desk.click(0.6, 0.6)))
    assert desk.texts == (after, "")
    for key, text in (("z", points_of(before)), ("y", after)):
        desk.undo(key)
        assert desk.texts == (text, "")
    page.evaluate("app.canvas.setGraph(app.rootGraph)")
    until(lambda: page.locator(".sam2-panel:visible").count() == 0)
    prompt = page.evaluate("async () => (await app.graphToPrompt()).output")
    assert segment_in(prompt)["points"] == after


def segment_in(prompt: dict) -> dict:
    (inputs,) = (entry["inputs"] for entry in prompt.values() if entry["class_type"] == "Qwen2VLFluxSAM2Segment")
    return inputs


def mask_in(server: ComfyServer, outputs: dict) -> np.ndarray:
    (image,) = (image for output in outputs.values() for image in output.get("images", ()))
    return np.asarray(Image.open(io.BytesIO(ComfyClient(server.url).fetch(image))).convert("L"))


@each_renderer
def test_a_run_gives_the_mask_of_what_is_shown(desk: Desk, server: ComfyServer, picture: str) -> None:
    desk.click(0.3, 0.65)
    desk.shift(lambda: desk.click(0.7, 0.35))
    desk.drag((0.1, 0.2), (0.45, 0.9))
    points, box = desk.texts
    prompt, outputs = run(desk.page, server)
    inputs = segment_in(prompt)
    assert (inputs["points"], inputs["box"]) == (points, box)
    assert [parsed.label for parsed in parse_points(points)] == [1, 0] and len(parse_boxes(box)) == 1
    graph = {
        "image": node("LoadImage", image=picture),
        "sam2": node("Qwen2VLFluxSAM2Loader", file=SAM2),
        "segment": node("Qwen2VLFluxSAM2Segment", **{**inputs, "sam2": ["sam2", 0], "image": ["image", 0]}),
        "mask": node("MaskPreview", mask=["segment", 0]),
    }
    asked = ComfyClient(server.url).run(graph)
    mask = mask_in(server, outputs)
    assert mask.shape == (SIDE, SIDE)
    assert np.array_equal(mask, mask_in(server, asked.outputs))
    until(lambda: green(desk.pixel(0.05, 0.95)))  # the same picture as before
    assert desk.texts == (points, box)


@each_renderer
def test_points_from_another_node(desk: Desk) -> None:
    """They are left alone; a box can still be drawn."""
    desk.page.evaluate("""() => {
        const segment = app.graph.nodes.find(node => node.type === 'Qwen2VLFluxSAM2Segment');
        const words = LiteGraph.createNode('PrimitiveStringMultiline');
        words.pos = [0, 560];
        app.graph.add(words);
        words.connect(0, segment, segment.findInputSlot('points'));
    }""")
    until(lambda: desk.button("New points lie").is_disabled())
    desk.click(0.3, 0.3)
    corners = desk.drag((0.2, 0.3), (0.6, 0.8))
    assert desk.texts == ("", box_of(*corners[0], *corners[1]))


@each_renderer
def test_without_the_script_the_node_is_text(browser: Browser, server: ComfyServer, picture: str, vue: bool) -> None:
    with opened(browser, server, vue, blocked="**/sam2/*.js") as page:
        page.evaluate(BUILD, [picture, SAM2])
        page.locator("textarea:visible").first.fill('[{"x": 0.28, "y": 0.68}]')
        assert page.locator(".sam2-panel").count() == 0
        page.mouse.click(1600, 900)
        prompt = page.evaluate("async () => (await app.graphToPrompt()).output")
        assert segment_in(prompt)["points"] == '[{"x": 0.28, "y": 0.68}]'


POINTS = [
    "", " \n", "[]", "{}", "null", "3", "NaN", "left", "[1]", "[[]]", "[null]", "[{}]", '[{"x": 0.5}]',
    '[{"x": 0.5, "y": 0.5}]', '[{"x": 0, "y": 1, "label": 0}]', '[{"x": 0.5, "y": 0.5, "label": 1.0}]',
    '[{"x": 0.5, "y": 0.5, "label": 2}]', '[{"x": 0.5, "y": 0.5, "label": true}]',
    '[{"x": 0.5, "y": 0.5, "label": null}]',
    '[{"x": 0.5, "y": "0.5"}]', '[{"x": 0.5, "y": [0.5]}]', '[{"x": -0.1, "y": 0.5}]', '[{"x": 0.5, "y": 1.5}]',
    '[{"x": 154, "y": 256}]', '[{"x": 900, "y": 256}]', '[{"x": 1e400, "y": 0.5}]', '[{"x": 0.5, "y": 0.5, "w": 1}]',
    json.dumps([{"x": 0.5, "y": 0.5}] * MOST_POINTS), json.dumps([{"x": 0.5, "y": 0.5}] * (MOST_POINTS + 1)),
]  # fmt: skip
BOXES = [
    "", "[]", "{}", "true", '["a"]', "[0.1]", "[0.1, 0.2, 0.6, 0.9]", "[[0.1, 0.2, 0.6, 0.9]]", "[0.1, 0.2, 0.6, 1.9]",
    "[[0.1, 0.2, 0.6, 0.9], [0, 0, 1, 1]]", "[[0.1, 0.2, 0.6, 0.9], 3]", "[0.6, 0.2, 0.1, 0.9]", "[0, 0, 0, 1]",
    "[51, 102, 307, 461]", "[51, 102, 907, 461]", '[{"x": 51, "y": 102, "width": 256, "height": 359, "score": 1}]',
    '[{"x": 51, "y": 102, "width": 256}]', '[{"x": 51, "y": 102, "width": "256", "height": 1}]', '["0", 0, 1, 1]',
    '[{"x": 0, "y": 0, "width": -1, "height": 1}]', "[[1, 2, [3], 4]]", json.dumps([0] * 100),
    json.dumps([[0, 0, 1, 1]] * MOST_BOXES), json.dumps([[0, 0, 1, 1]] * (MOST_BOXES + 1)),
]  # fmt: skip
UNITS = {"fraction": {"width": 1, "height": 1}, "pixels": {"width": 512, "height": 512}}
SITE = "http://sam2.test/"  # answered from the folder, never asked for in the network


def test_texts_are_good_or_bad_alike(browser: Browser, root: Path) -> None:
    page = browser.new_page()
    page.route(f"{SITE}**", lambda route: _answer(route, root))
    page.goto(SITE)
    verdicts = set()
    for name, unit in UNITS.items():
        for kind, parse, texts in (("Points", parse_points, POINTS), ("Boxes", parse_boxes, BOXES)):
            said = page.evaluate(PARSE, [f"parse{kind}", texts, {"name": name, **unit}])
            for text, (here, chinese) in zip(texts, said, strict=True):
                try:
                    marks = parse(text, name)
                    if name == "pixels":
                        in_fractions(*((marks, ()) if kind == "Points" else ((), marks)), *unit.values())
                    there = [vars(mark) for mark in marks]
                except InputError as error:
                    there = str(error)
                verdicts.add((name, kind, type(there)))
                if isinstance(there, list):
                    assert here == there, text[:80]
                    continue
                assert isinstance(here, str) and len(here) < 400 and here.endswith("."), text[:80]
                assert re.search(r"[\u4e00-\u9fff]", chinese) and "undefined" not in here + chinese
                if "not JSON text" not in here:  # the parsers have their own words for what is no JSON
                    assert (
                        here.split(" is ")[0].split(", ")[0] == there.split(" is ")[0].replace("'", '"').split(", ")[0]
                    )
    page.close()
    assert len(verdicts) == 8


PARSE = """async ([name, texts, unit]) => {
    const parse = (await import('/sam2/marks.js'))[name];
    const { LANGUAGES } = await import('/sam2/words.js');
    const { wordsIn } = await import('/panels/words.js');
    return texts.map(text => {
        try {
            return [parse(text, unit), ''];
        } catch (error) {
            return ['en', 'zh'].map(language => error.says(wordsIn(LANGUAGES, language)));
        }
    });
}"""


def _answer(route, root: Path) -> None:
    name = route.request.url.removeprefix(SITE)
    if name:
        route.fulfill(path=root / "web" / name, content_type="text/javascript")
    else:
        route.fulfill(body="<!doctype html>", content_type="text/html")


def test_words_are_in_both_languages(page: Page) -> None:
    languages = page.evaluate("""async () => {
        const found = performance.getEntriesByType('resource').find(each => each.name.endsWith('/sam2/words.js'));
        return (await import(found.name)).LANGUAGES;
    }""")
    assert list(languages["en"]) == list(languages["zh"])
    for key, english in languages["en"].items():
        chinese = languages["zh"][key]
        assert re.search(r"[\u4e00-\u9fff]", chinese), key
        assert sorted(re.findall(r"\{\w+\}", english)) == sorted(re.findall(r"\{\w+\}", chinese)), key


ARROWS = ("ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown")


@pytest.mark.parametrize(
    "page_name, arrows", [("Qwen2VLFluxSAM2Segment.md", "arrows"), ("Qwen2VLFluxSAM2Segment/zh.md", "方向键")]
)
def test_help_pages_name_every_key(root: Path, page_name: str, arrows: str) -> None:
    code = (root / "web" / "sam2" / "gestures.js").read_text("utf-8")
    actions = code.split("\n  actions(event) {")[1].split("\n  }\n")[0]
    keys = set(re.findall(r"\b([A-Z]\w+): (?:by|remove|\(\))", actions))
    assert len(keys) == 10, keys
    text = (root / "web" / "docs" / page_name).read_text("utf-8").lower().replace(" ", "")
    for key in keys | {"Shift"}:
        assert (arrows if key in ARROWS else key.lower()) in text, key
