"""The bundled workflows through comfy-cli, a client that is not ours, on a real server."""

from __future__ import annotations

import functools
import io
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from urllib.request import urlopen

import pytest
from bundled import FOLDER, GRAPHS, RUNNABLE, canonical, only
from PIL import Image, ImageChops, ImageStat
from runs import contrast, forget, history

from client.catalogue import WORKFLOWS
from client.prompt import Prompt
from client.qwen2vl_flux.graph import variation
from client.qwen2vl_flux.workflows import WORDS
from client.server import HOST, ComfyServer
from client.workflow import EXAMPLE

Comfy = Callable[..., dict]
# Sizes of the pictures that the demo checkpoint makes, and of the example.
SMALL, LARGE = (128, 128), (768, 768)
# The nodes whose maps and overlays are of the size of the image as it was loaded; others see it prepared for FLUX.
OF_LOADED_SIZE = ("GridDotFocus", "Qwen2VLFluxSAM2Segment")


class Made(NamedTuple):
    """The pictures that a workflow saves, and what else it shows."""

    saved: list[Image.Image]
    shown: list[Image.Image]


@pytest.fixture(scope="module")
def comfy(tools: Path, furnished: ComfyServer, tmp_path_factory: pytest.TempPathFactory) -> Comfy:
    """Calls comfy-cli on the server with a home of its own; returns the `data` of its answer, a success."""
    home = str(tmp_path_factory.mktemp("home"))
    environment = {**os.environ, "DO_NOT_TRACK": "1", "HOME": home, "XDG_CONFIG_HOME": home, "XDG_CACHE_HOME": home}

    def call(*arguments: str, workflow: Path) -> dict:
        command = [tools / "comfy", "--skip-prompt", "--json", *arguments, "--workflow", workflow]
        command += ["--host", HOST, "--port", str(furnished.port)]
        done = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300
        )
        assert done.stdout, f"{command} ended with {done.returncode}:\n{done.stderr}"
        answer = json.loads(done.stdout)
        assert done.returncode == 0 and answer["ok"], answer["error"]
        return answer["data"]

    return call


def api_form(comfy: Comfy, name: str) -> Prompt:
    """The workflow as comfy-cli would queue it."""
    return comfy("run", "--print-prompt", workflow=FOLDER / f"{name}.json")["prompt"]


@pytest.mark.parametrize("name", GRAPHS)
def test_workflow_is_the_graph_of_the_client(comfy: Comfy, name: str) -> None:
    assert canonical(api_form(comfy, name)) == canonical(GRAPHS[name])


@pytest.mark.parametrize("name", GRAPHS)
def test_workflow_validates(comfy: Comfy, name: str) -> None:
    checked = comfy("workflow", "validate", workflow=FOLDER / f"{name}.json")
    assert checked["valid"] and checked["converted_from_ui"] and not checked["warnings"]


@pytest.mark.parametrize("prompt", ["", WORDS], ids=["plain", "prompt"])
@pytest.mark.parametrize("dots", ["", '[{"x": 0.5, "y": 0.5}]'], ids=["whole", "focus"])
def test_graph_of_the_client_validates(comfy: Comfy, prompt: str, dots: str, tmp_path: Path) -> None:
    file = tmp_path / "prompt.json"
    file.write_text(json.dumps(variation(EXAMPLE, prompt=prompt, dots=dots)))
    checked = comfy("workflow", "validate", workflow=file)
    assert checked["valid"] and not checked["warnings"]


@pytest.fixture(scope="module")
def run(comfy: Comfy, furnished: ComfyServer, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Made]:
    """What a workflow makes; each runs once, and from an empty cache.

    comfy-cli is given the files as they are, but for those with nodes that only read weights of the full size, which
    get the catalogue's stand-ins.
    """
    forget(furnished)

    @functools.cache
    def run(name: str) -> Made:
        workflow = FOLDER / f"{name}.json"
        stand_ins = WORKFLOWS[name].stand_ins
        if stand_ins:
            graph = api_form(comfy, name)
            graph |= {only(graph, GRAPHS[name][node_id]["class_type"]): node for node_id, node in stand_ins.items()}
            workflow = tmp_path_factory.mktemp("graph") / workflow.name
            workflow.write_text(json.dumps(graph))
        ran = comfy("run", "--wait", "--timeout", "300", workflow=workflow)
        assert ran["status"] == "completed"
        _, _, prompt, *_ = history(furnished)[ran["prompt_id"]]["prompt"]
        assert canonical(prompt) == canonical(RUNNABLE[name])
        saved = [opened(address) for address in ran["outputs"] if "type=output" in address]
        return Made(saved, [opened(address) for address in ran["outputs"] if "type=temp" in address])

    return run


def opened(address: str) -> Image.Image:
    with urlopen(address) as answer:
        return Image.open(io.BytesIO(answer.read())).convert("RGB")


@pytest.mark.parametrize("name", GRAPHS)
def test_workflow_runs(run: Callable[[str], Made], name: str) -> None:
    made = run(name)
    assert [picture.size for picture in made.saved] == [SMALL] * 4
    assert len({picture.tobytes() for picture in made.saved}) == 4
    assert min(map(contrast, made.saved)) > 20
    assert sorted(picture.size for picture in made.shown) == sorted(preview_sizes(GRAPHS[name]))
    assert all(contrast(picture) > 2 for picture in made.shown)


def preview_sizes(graph: Prompt) -> list[tuple[int, int]]:
    """Of the maps and overlays that a graph shows beside its pictures."""
    links = [*graph_inputs(graph, "MaskPreview", "mask"), *graph_inputs(graph, "PreviewImage", "images")]
    return [LARGE if graph[source]["class_type"] in OF_LOADED_SIZE else SMALL for source, _ in links]


def graph_inputs(graph: Prompt, class_type: str, name: str) -> list:
    """An input of all nodes of a type."""
    return [entry["inputs"][name] for entry in graph.values() if entry["class_type"] == class_type]


def test_single_files_give_the_same_pictures(run: Callable[[str], Made]) -> None:
    single, whole = run("variation_single_file"), run("variation")
    assert [picture.tobytes() for picture in single.saved] == [picture.tobytes() for picture in whole.saved]


@pytest.mark.parametrize("name", [name for name in WORKFLOWS if WORKFLOWS[name].needs == "a painted mask"])
def test_what_is_not_painted_stays(run: Callable[[str], Made], furnished: ComfyServer, name: str) -> None:
    """The example is painted from its middle to the right; the rest is the autoencoder's picture of it."""
    example = opened(f"{furnished.url}/view?type=input&filename={EXAMPLE}").resize(SMALL)
    first, *others = run(name).saved
    left, right = (0, 0, 32, 128), (64, 0, 128, 128)
    assert change(first, example, left) < change(first, example, right) / 2
    for other in others:
        assert change(first, other, left) < 0.5 and change(first, other, right) > 2


def change(one: Image.Image, other: Image.Image, part: tuple[int, int, int, int]) -> float:
    """Mean difference of two pictures in a part of them, 0..255."""
    bands = ImageStat.Stat(ImageChops.difference(one.crop(part), other.crop(part))).mean
    return sum(bands) / len(bands)
