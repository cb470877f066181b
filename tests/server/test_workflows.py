"""The bundled workflows through comfy-cli, a client that is not ours, on a real server."""

from __future__ import annotations

import io
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from urllib.request import urlopen

import pytest
from bundled import EXAMPLE, FOLDER, GRAPHS, HINTS, MIDDLE, ON_DEMO, SINGLE_FILES, UNION, WORDS, canonical, node, only
from PIL import Image, ImageChops, ImageStat

from qwen2vl_flux_pack.automation.client import ComfyClient
from qwen2vl_flux_pack.automation.graphs import Prompt, variation
from qwen2vl_flux_pack.automation.server import HOST, ComfyServer

Comfy = Callable[..., dict]
PAINTED = "painted.png"
SMALL_FILES = {
    "demo": "small",
    EXAMPLE: PAINTED,
    UNION: "small/controlnet",
    HINTS[0].model: "small/depth-anything-v2/depth_anything_v2_vits.pth",
    HINTS[1].model: "small/anyline/MTEED.pth",
    MIDDLE.model: "small/segment-anything-2/sam2_hiera_tiny.pt",
}
"""What stands in for the files that the workflows name."""
QUICK = {"steps": 2, "batch_size": 1, "amount": 1, "resolution": 256}
MAPS = {"sam2_focus": 1, "inpaint": 0, "sam2_inpaint": 1, "controlnet": 2, "controlnet_published": 2}
MAPS |= {"controlnet_inpaint": 2}
"""Workflows for files of the reader's own or a painted picture, and how many maps and overlays they show."""


@pytest.fixture(scope="module")
def comfy(tools: Path, server: ComfyServer, example: str, tmp_path_factory: pytest.TempPathFactory) -> Comfy:
    """Calls comfy-cli on the server with a home of its own; returns the `data` of its answer, which must be a success.

    `example`, which the workflows open, is there.
    """
    home = str(tmp_path_factory.mktemp("home"))
    environment = {**os.environ, "DO_NOT_TRACK": "1", "HOME": home, "XDG_CONFIG_HOME": home, "XDG_CACHE_HOME": home}

    def call(*arguments: str, workflow: Path) -> dict:
        command = [tools / "comfy", "--skip-prompt", "--json", *arguments, "--workflow", workflow]
        command += ["--host", HOST, "--port", str(server.port)]
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


@pytest.mark.parametrize("name", ON_DEMO)
def test_workflow_validates(comfy: Comfy, name: str) -> None:
    checked = comfy("workflow", "validate", workflow=FOLDER / f"{name}.json")
    assert checked["valid"] and checked["converted_from_ui"] and not checked["warnings"]


@pytest.mark.parametrize("prompt", ["", WORDS], ids=["plain", "prompt"])
@pytest.mark.parametrize("dots", ["", '[{"x": 0.5, "y": 0.5}]'], ids=["whole", "focus"])
def test_graph_of_the_client_validates(comfy: Comfy, example: str, prompt: str, dots: str, tmp_path: Path) -> None:
    file = tmp_path / "prompt.json"
    file.write_text(json.dumps(variation(example, prompt=prompt, dots=dots)))
    checked = comfy("workflow", "validate", workflow=file)
    assert checked["valid"] and not checked["warnings"]


@pytest.mark.parametrize("name", ON_DEMO)
def test_workflow_runs(comfy: Comfy, name: str) -> None:
    ran = comfy("run", "--wait", workflow=FOLDER / f"{name}.json")
    assert ran["status"] == "completed"
    made = [opened(address) for address in ran["outputs"]]
    assert [picture.size for picture in made].count((128, 128)) == 4
    focus_maps = [picture for picture in made if picture.size != (128, 128)]
    assert len(focus_maps) == [entry["class_type"] for entry in GRAPHS[name].values()].count("MaskPreview")


def opened(address: str) -> Image.Image:
    with urlopen(address) as answer:
        picture = Image.open(io.BytesIO(answer.read()))
        picture.load()
    assert picture.convert("L").getextrema() != (0, 0)
    return picture


@pytest.mark.parametrize("prompt", ["", WORDS], ids=["plain", "prompt"])
def test_single_files_give_the_same_pictures(comfy: Comfy, client: ComfyClient, example: str, prompt: str) -> None:
    """The single file workflow with the demo checkpoint's FLUX as a single file.

    The text encoders stay the checkpoint's: ComfyUI's own loader reads them at their full sizes only.
    """
    graph = api_form(comfy, "variation_single_file")
    seed = graph[only(graph, "RandomNoise")]["inputs"]["noise_seed"]
    graph[only(graph, "UNETLoader")]["inputs"]["unet_name"] = "demo_flux.safetensors"
    graph[only(graph, "VAELoader")]["inputs"]["vae_name"] = "diffusion_pytorch_model.safetensors"
    graph[only(graph, "DualCLIPLoader")] = node("Qwen2VLFluxTextLoader", checkpoint="demo", t5=bool(prompt))
    graph[only(graph, "Qwen2VLConnector")]["inputs"]["prompt"] = prompt
    assert not set(SINGLE_FILES.values()) & set(map(str, inputs(graph)))
    single = pictures(client, graph)
    assert len(single) == 4 and single == pictures(client, variation(example, prompt=prompt, batch_size=4, seed=seed))


@pytest.fixture(scope="module")
def painted(root: Path, server: ComfyServer, tmp_path_factory: pytest.TempPathFactory) -> Image.Image:
    """A picture as the mask editor leaves it, transparent where its right half was painted, uploaded as PAINTED."""
    path = tmp_path_factory.mktemp("painted") / PAINTED
    picture = Image.open(root / "demo" / "reference.png").convert("RGBA").resize((128, 128))
    alpha = Image.new("L", picture.size, 255)
    alpha.paste(0, (64, 0, 128, 128))
    picture.putalpha(alpha)
    picture.save(path)
    assert ComfyClient(server.url).upload_image(path) == PAINTED
    return picture


def test_every_workflow_is_run_here() -> None:
    assert {*ON_DEMO, *MAPS, "variation_single_file"} == set(GRAPHS)


@pytest.mark.parametrize("name", MAPS)
def test_workflow_runs_on_small_files(
    comfy: Comfy, client: ComfyClient, small: Path, painted: Image.Image, name: str
) -> None:
    graph = api_form(comfy, name)
    for entry in graph.values():
        given = entry["inputs"]
        given |= {key: SMALL_FILES[given[key]] for key in given if str(given[key]) in SMALL_FILES}
        given |= {key: QUICK[key] for key in given.keys() & QUICK.keys()}
    outputs = client.run(graph).outputs
    shown = [image for output in outputs.values() for image in output.get("images", [])]
    pixels = [Image.open(io.BytesIO(client.fetch(image))).convert("RGB") for image in shown]
    assert all(picture.size == (128, 128) and picture.getcolors(1) is None for picture in pixels)
    assert [graph[key]["class_type"] for key in outputs].count("PreviewImage") == MAPS[name]
    (saved,) = (picture for picture, image in zip(pixels, shown, strict=True) if image["type"] == "output")
    kept, changed = (change(saved, painted.convert("RGB"), half) for half in ((0, 0, 48, 128), (64, 0, 128, 128)))
    assert changed > 10
    assert (kept < 8) == (name in ("inpaint", "controlnet_inpaint"))


def change(one: Image.Image, other: Image.Image, part: tuple[int, int, int, int]) -> float:
    """Mean difference of two pictures in a part of them, 0..255."""
    bands = ImageStat.Stat(ImageChops.difference(one.crop(part), other.crop(part))).mean
    return sum(bands) / len(bands)


def inputs(prompt: Prompt) -> list[object]:
    return [value for entry in prompt.values() for value in entry["inputs"].values()]


def pictures(client: ComfyClient, prompt: Prompt) -> list[bytes]:
    """Pixels of the saved pictures."""
    images = client.run(prompt).outputs[only(prompt, "SaveImage")]["images"]
    return [Image.open(io.BytesIO(client.fetch(image))).tobytes() for image in images]
