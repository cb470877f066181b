"""A graph opens only the weights it needs: seen from outside the server, by the operating system."""

from __future__ import annotations

import itertools
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from opened import opened_files

from client.comfy_client import ComfyClient
from client.qwen2vl_flux.graph import Hint, Prompt, SamTarget, controlnet, image_to_image, inpaint, variation

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's")

ALWAYS = {"qwen2-vl", "transformer", "vae", "text_encoder"}
Opened = Callable[[Callable[[str], Prompt]], set[str]]


@pytest.fixture(scope="module")
def reference(server, root) -> str:
    return ComfyClient(server.url).upload_image(root / "demo" / "reference.png")


@pytest.fixture
def opened(client: ComfyClient, small: Path, checkpoint_root: Path) -> Iterator[Opened]:
    """Runs a graph on a checkpoint of a new name, which nothing has loaded before; returns the components of which a
    weight file was opened."""
    folder = checkpoint_root / f"never seen {next(NUMBERS)}"
    shutil.copytree(small, folder, copy_function=os.link)

    def run(graph: Callable[[str], Prompt]) -> set[str]:
        with opened_files(folder) as files:
            client.run(graph(folder.name))
        weights = [Path(name).parts for name in files if not name.endswith(".json")]
        return {parts[1] if parts[0] == "flux" else parts[0] for parts in weights}

    yield run
    shutil.rmtree(folder)


NUMBERS = itertools.count()


def hints(checkpoint: str, *kinds: str) -> list[Hint]:
    files = {"depth": "depth-anything-v2/small", "line": "anyline/MTEED.pth"}
    return [Hint(kind, f"{checkpoint}/{files[kind]}", 0.3) for kind in kinds]


def spot(checkpoint: str) -> SamTarget:
    return SamTarget(f"{checkpoint}/segment-anything-2/sam2_hiera_tiny.pt", points='[{"x": 0.3, "y": 0.7}]')


def test_a_variation(opened, reference):
    assert opened(lambda name: variation(reference, checkpoint=name, steps=1)) == ALWAYS


def test_a_prompt_opens_t5(opened, reference):
    graph = opened(lambda name: variation(reference, checkpoint=name, steps=1, prompt="shapes"))
    assert graph == {*ALWAYS, "text_encoder_2"}


def test_image_to_image(opened, reference):
    assert opened(lambda name: image_to_image(reference, checkpoint=name, steps=2)) == ALWAYS


def test_inpaint_by_points_opens_sam2(opened, reference):
    graph = opened(lambda name: inpaint(reference, spot(name), checkpoint=name, steps=2))
    assert graph == {*ALWAYS, "segment-anything-2"}


@pytest.mark.parametrize(
    "kinds, folders",
    [
        (("depth",), {"depth-anything-v2"}),
        (("line",), {"anyline"}),
        (("depth", "line"), {"depth-anything-v2", "anyline"}),
    ],
    ids=["depth", "line", "both"],
)
def test_a_controlnet_opens_the_annotators_of_its_hints(opened, reference, kinds, folders):
    def graph(name: str) -> Prompt:
        told = {"control_net": f"{name}/controlnet", "checkpoint": name, "steps": 2}
        return controlnet(reference, hints(name, *kinds), **told)

    assert opened(graph) == {*ALWAYS, "controlnet", *folders}
