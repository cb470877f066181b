"""The bundled workflows as somebody meets them: opened in the template browser and run."""

from __future__ import annotations

import contextlib
import itertools
import json
import time
from pathlib import Path
from urllib.request import urlopen

import pytest
from bundled import FOLDER, GRAPHS, ON_DEMO, canonical
from interface import PATIENCE, each_renderer
from playwright.sync_api import Locator, Page
from playwright.sync_api import TimeoutError as PlaywrightTimeout

from client.catalogue import WORKFLOWS
from client.comfy_client import ComfyClient
from client.server import ComfyServer

REPORT = "View details"  # the button of what is said of missing nodes, models and pictures
# Workflows that name no file of the reader's own.
COMPLETE = [name for name, workflow in WORKFLOWS.items() if workflow.needs != "other weights"]
# Those with the most panels and maps to show; comfy-cli runs all of them in tests/server/test_workflows.py.
RUN_ALWAYS = ("variation_with_focus", "two_references", "controlnet")
# Type, left, top, width and height of every node as it is drawn, its title too. Vue draws nodes larger than the file
# says, and more than one element carries a node's id.
BOXES = """vue => {
    const shown = {};
    for (const element of document.querySelectorAll("[data-node-id]")) {
        const { width, height } = element.getBoundingClientRect();
        const [, tallest] = shown[element.dataset.nodeId] ?? [0, 0];
        const size = [width, height].map(pixels => Math.round(pixels / app.canvas.ds.scale));
        if (size[1] > tallest) shown[element.dataset.nodeId] = size;
    }
    const title = LiteGraph.NODE_TITLE_HEIGHT;
    return app.graph.nodes.map(node => {
        const size = vue ? shown[node.id] : [node.size[0], node.size[1] + title];
        return [node.type, node.pos[0], node.pos[1] - title, ...size];
    });
}"""
GROUPS = "app.graph.groups.map(group => [group.title, ...group.pos, ...group.size])"
# By how many pixels each note's text is longer than its box.
NOTE = """() => [...document.querySelectorAll(".comfy-markdown .tiptap, .comfy-markdown-content")]
    .filter(text => text.clientHeight).map(text => text.scrollHeight - text.clientHeight)"""


def nodes_of(name: str) -> list[dict]:
    return json.loads((FOLDER / f"{name}.json").read_text("utf-8"))["nodes"]


def open_category(page: Page) -> Locator:
    """The template browser with the pack's own templates."""
    offered = page.evaluate("async () => (await fetch('/workflow_templates')).json()")
    folder = next(folder for folder, names in offered.items() if set(names) == set(GRAPHS))  # of the pack
    page.get_by_role("button", name="Templates").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_text(folder).first.click()
    dialog.get_by_text(f"Showing {len(GRAPHS)} of {len(GRAPHS)} templates").wait_for()
    return dialog


def open_template(page: Page, name: str) -> None:
    """A click that comes while the cards are still being laid out opens nothing, and is made again."""
    dialog, card = open_category(page), page.get_by_test_id(f"template-workflow-{name}")
    card.click()
    with contextlib.suppress(PlaywrightTimeout):
        dialog.wait_for(state="detached", timeout=20_000)
    if dialog.count():
        card.click()
        dialog.wait_for(state="detached")
    page.wait_for_function("count => app.graph.nodes.length === count", arg=len(nodes_of(name)))
    page.wait_for_timeout(1000)  # for what the interface says after it has looked the workflow over


def test_thumbnails(page: Page, tmp_path: Path) -> None:
    dialog = open_category(page)
    for name in GRAPHS:
        card = dialog.get_by_test_id(f"template-workflow-{name}")
        card.scroll_into_view_if_needed()  # pictures are loaded when they come into view
        picture = card.locator("img")
        picture.wait_for()
        page.wait_for_function("image => image.naturalWidth > 0", arg=picture.element_handle())
        assert "default-template" not in picture.get_attribute("src")
    page.screenshot(path=tmp_path / "templates.png")
    page.keyboard.press("Escape")
    dialog.wait_for(state="detached")


@each_renderer
@pytest.mark.parametrize("name", GRAPHS)
def test_opens_tidy_and_without_a_missing_node(page: Page, name: str, vue: bool, tmp_path: Path) -> None:
    open_template(page, name)
    page.screenshot(path=tmp_path / f"{name}.png")
    unknown = "app.graph.nodes.filter(node => !LiteGraph.registered_node_types[node.type]).map(node => node.type)"
    assert page.evaluate(unknown) == []
    assert page.get_by_role("button", name=REPORT).count() == (name not in COMPLETE)
    assert canonical(page.evaluate("async () => (await app.graphToPrompt()).output")) == canonical(GRAPHS[name])
    assert page.evaluate("LiteGraph.vueNodesMode") == vue
    nodes = page.evaluate(BOXES, vue)
    assert not [f"{one[0]} and {other[0]}" for one, other in itertools.combinations(nodes, 2) if overlap(one, other)]
    assert page.evaluate(NOTE) == [0]
    groups = page.evaluate(GROUPS)
    for node in nodes:
        inside = [group for group in groups if holds(group, node)]
        touched = [group for group in groups if overlap(group, node)]
        assert inside == touched and len(inside) == (node[0] != "MarkdownNote"), node


def overlap(one: list, other: list) -> bool:
    """Whether two boxes meet; what they are comes first, then left, top, width, height."""
    (_, *one), (_, *other) = one, other
    return all(one[at] < other[at] + other[at + 2] and other[at] < one[at] + one[at + 2] for at in (0, 1))


def holds(outer: list, inner: list) -> bool:
    (_, *outer), (_, *inner) = outer, inner
    return all(outer[at] <= inner[at] and inner[at] + inner[at + 2] <= outer[at] + outer[at + 2] for at in (0, 1))


@pytest.mark.parametrize(
    "name", [name if name in RUN_ALWAYS else pytest.param(name, marks=pytest.mark.slow) for name in ON_DEMO]
)
def test_runs(page: Page, server: ComfyServer, name: str, tmp_path: Path) -> None:
    open_template(page, name)
    before = set(history(server))
    page.get_by_test_id("queue-button").click()
    entry = finished(server, before)
    assert entry["status"]["status_str"] == "success"
    images = [image for output in entry["outputs"].values() for image in output.get("images", [])]
    assert [image["type"] for image in images].count("output") == 4
    shown = "app.graph.nodes.find(node => node.type === 'SaveImage').imgs?.length === 4"
    page.wait_for_function(shown)
    page.wait_for_timeout(500)  # nodes grow when a picture does not fit
    page.screenshot(path=tmp_path / f"{name}.png")
    sizes = {str(node["id"]): node["size"] for node in nodes_of(name)}
    assert dict(page.evaluate("app.graph.nodes.map(node => [String(node.id), [...node.size]])")) == sizes


def test_every_node_and_socket_has_words(client: ComfyClient) -> None:
    own = {name: node for name, node in client.object_info().items() if node["category"].startswith("Qwen2VL-Flux")}
    assert own
    for name, node in own.items():
        inputs = {**node["input"].get("required", {}), **node["input"].get("optional", {})}
        assert node["description"] and all(options["tooltip"] for _, options in inputs.values()), name
        assert all(node["output_tooltips"]), name


def history(server: ComfyServer) -> dict:
    with urlopen(f"{server.url}/history") as answer:
        return json.load(answer)


def finished(server: ComfyServer, before: set[str]) -> dict:
    """The first prompt that ends after those."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        new = [entry for key, entry in history(server).items() if key not in before]
        if new:
            return new[0]
        time.sleep(0.2)
    raise AssertionError(f"No prompt ended within {PATIENCE:.0f} s")
