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
from bundled import EXAMPLE, FOLDER, GRAPHS, RUNNABLE, TEXT, WORDS, canonical, only
from PIL import Image, ImageChops, ImageStat
from runs import contrast, forget, history

from client.qwen2vl_flux.graph import Prompt, variation
from client.server import HOST, ComfyServer

Comfy = Callable[..., dict]
# Sizes of the pictures that the demo checkpoint makes, and of the example.
SMALL, LARGE = (128, 128), (768, 768)
SHOWN = {"variation_with_focus": [LARGE], "sam2_focus": [LARGE, LARGE], "sam2_inpaint": [LARGE]}
SHOWN |= {name: [LARGE, LARGE] for name in ("focus_over_time", "two_references")}
SHOWN |= {name: [SMALL, SMALL] for name in ("controlnet", "controlnet_published", "controlnet_inpaint")}
"""Maps and overlays that a workflow shows beside its pictures."""


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


def test_every_workflow_is_known_here() -> None:
    assert {path.stem for path in FOLDER.glob("*.json")} == set(GRAPHS)


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

    comfy-cli is given the files as they are, but for `variation_single_file`: ComfyUI reads single text encoders at
    their full sizes only, so that its graph gets the checkpoint's in their place. FLUX and VAE are single files.
    """
    forget(furnished)

    @functools.cache
    def run(name: str) -> Made:
        workflow = FOLDER / f"{name}.json"
        if name == "variation_single_file":
            graph = api_form(comfy, name)
            workflow = tmp_path_factory.mktemp("graph") / workflow.name
            workflow.write_text(json.dumps({**graph, only(graph, "DualCLIPLoader"): TEXT}))
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
    assert [picture.size for picture in made.shown] == SHOWN.get(name, [])
    assert all(contrast(picture) > 2 for picture in made.shown)


def test_single_files_give_the_same_pictures(run: Callable[[str], Made]) -> None:
    single, whole = run("variation_single_file"), run("variation")
    assert [picture.tobytes() for picture in single.saved] == [picture.tobytes() for picture in whole.saved]


@pytest.mark.parametrize("name", ["inpaint", "controlnet_inpaint"])
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
