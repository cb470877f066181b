"""The stop button within one node of the real server: a long encode and SAM 2 stop soon, and then work as before."""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest
from annotator_weights import write_sam2
from goldens import DATA
from PIL import Image

from client.comfy_client import ComfyClient, Event, RunInterrupted
from client.qwen2vl_flux.graph import node, variation

BOXES = [[0.05 * number, 0.1, 0.05 * number + 0.2, 0.9] for number in range(8)]


@pytest.fixture(scope="module")
def picture(server) -> str:
    """301 x 197."""
    return ComfyClient(server.url).upload_image(DATA / "img_crop_301x197.png")


@pytest.fixture(scope="module")
def same_picture(server, tmp_path_factory) -> str:
    """The same under another name, so that ComfyUI's cache does not answer for it."""
    copy = tmp_path_factory.mktemp("same") / "same_301x197.png"
    copy.write_bytes((DATA / "img_crop_301x197.png").read_bytes())
    return ComfyClient(server.url).upload_image(copy)


def pixels(client: ComfyClient, graph: dict, worked: str) -> np.ndarray:
    """The first picture that the node `save` saves, of a run in which the node `worked` did not come from the cache."""
    run = client.run(graph)
    assert worked in run.executed
    image = run.outputs["save"]["images"][0]
    return np.asarray(Image.open(io.BytesIO(client.fetch(image))).convert("RGB"))


def encode(picture: str, budget: int) -> dict:
    return {
        "image": node("LoadImage", image=picture),
        "qwen2vl": node("Qwen2VLLoader", checkpoint="demo", weight_dtype="default"),
        "encode": node("Qwen2VLEncode", qwen2vl=["qwen2vl", 0], image=["image", 0], token_budget=budget),
        "show": node("PreviewAny", source=["encode", 0]),
    }


def started(node_id: str, then: Callable[[], object]) -> Callable[[Event], None]:
    """Calls `then` once, when the server begins a node."""

    def on_event(event: Event) -> None:
        if event["type"] == "executing" and event["data"]["node"] == node_id:
            then()

    return on_event


@pytest.mark.slow
def test_a_long_encode(client, picture, same_picture):
    """An interrupt ends it in a part of a layer, which takes a third of what all layers take of a quarter as many
    tokens; the whole layer takes five times that."""
    small = {"checkpoint": "demo", "size": 64, "steps": 2, "seed": 3}
    before = pixels(client, variation(picture, **small), "encode")
    began: list[float] = []
    client.run(encode(picture, 4096), started("encode", lambda: began.append(time.monotonic())))
    quarter = time.monotonic() - began[0]
    asked: list[float] = []

    def interrupt() -> None:
        asked.append(time.monotonic())
        client.interrupt()

    timer = threading.Timer(quarter / 2, interrupt)
    with pytest.raises(RunInterrupted, match=r"interrupted at Qwen2VLEncode \(node 'encode'\)"):
        client.run(encode(picture, 16384), started("encode", timer.start))
    assert time.monotonic() - asked[0] < 2 * quarter
    assert np.array_equal(pixels(client, variation(same_picture, **small), "encode"), before)


def test_sam2_of_many_boxes_and_pictures(client, picture, same_picture, sam2_folder):
    """It ends at the next box, not at the next picture."""
    write_sam2(sam2_folder / "interrupted" / "sam2_hiera_tiny.pt", version="2")
    graph = {
        "image": node("LoadImage", image=picture),
        "many": node("RepeatImageBatch", image=["image", 0], amount=64),
        "sam2": node("Qwen2VLFluxSAM2Loader", file="interrupted/sam2_hiera_tiny.pt"),
        "segment": node(
            "Qwen2VLFluxSAM2Segment",
            sam2=["sam2", 0],
            image=["many", 0],
            points="",
            box=json.dumps(BOXES),
            candidates="all",
        ),
        "save": node("SaveImage", images=["segment", 1], filename_prefix="interrupted"),
    }
    one = {**graph, "many": node("RepeatImageBatch", image=["image", 0], amount=1)}
    before = pixels(client, one, "segment")
    steps: list[int] = []

    def on_event(event: Event) -> None:
        if event["type"] == "progress" and event["data"]["node"] == "segment":
            steps.append(event["data"]["value"])
            client.interrupt()

    with pytest.raises(RunInterrupted, match=r"interrupted at Qwen2VLFluxSAM2Segment \(node 'segment'\)"):
        client.run(graph, on_event)
    assert steps and max(steps) < len(BOXES)
    one["image"] = node("LoadImage", image=same_picture)
    assert np.array_equal(pixels(client, one, "segment"), before)
