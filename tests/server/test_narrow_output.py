"""A server whose output cannot show every letter, as a Windows log may be: a failing node ends its own prompt, and the
next one runs."""

from __future__ import annotations

import json
import os
import queue
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import COMFYUI, ROOT
from sentences import one_sentence
from spoiling import shown

from client.comfy_client import ComfyClient, NodeFailed, Run
from client.qwen2vl_flux.graph import node
from client.server import ComfyServer

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has names of files that are no text")

NARROW = {"PYTHONIOENCODING": "cp1251", "PYTHONUTF8": "0"}
PATIENCE = 120
LINES, ENCODER = "MTEED.safetensors", Path("qwen2-vl")
INDEX = ENCODER / "model.safetensors.index.json"


def linked(folder: Path) -> Path:
    """The demo's encoder under another name."""
    (folder / "flux").mkdir(parents=True)
    shutil.copytree(ROOT / "demo" / ENCODER, folder / ENCODER, copy_function=os.link)
    return folder


def replaced(path: Path, content: str) -> None:
    path.unlink()
    path.write_text(content)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models with names that are no text, that this output cannot show, and files that hold such names."""
    base = tmp_path_factory.mktemp("narrow")
    (base / "anyline").mkdir()
    for name in (b"MT\xc9ED.safetensors", "MTEED 雪.safetensors".encode()):
        shutil.copy(ROOT / "demo" / "anyline" / LINES, base / "anyline" / os.fsdecode(name))
    linked(base / "checkpoints" / os.fsdecode(b"caf\xe9"))
    linked(base / "checkpoints" / "雪")
    index = json.loads((ROOT / "demo" / INDEX).read_text())
    for name, shard in (("half a letter", "\ud800"), ("a line break", "a\n雪.safetensors"), ("snow", "雪.safetensors")):
        names = {tensor: shard for tensor in index["weight_map"]}
        replaced(linked(base / "checkpoints" / name) / INDEX, json.dumps({"weight_map": names}))
    config = json.loads((ROOT / "demo" / ENCODER / "config.json").read_text())
    invalid = linked(base / "checkpoints" / "garbled") / ENCODER / "config.json"
    replaced(invalid, json.dumps({**config, "hidden_size": "×" * 100}))
    return base


@pytest.fixture(scope="module")
def server(home: Path) -> Iterator[ComfyServer]:
    paths = home / "extra_model_paths.yaml"
    paths.write_text(json.dumps({"t": {"qwen2vl_flux": str(home / "checkpoints"), "anyline": str(home / "anyline")}}))
    folders = {f"{kind}_dir": home / kind for kind in ("output", "input", "temp", "user")}
    extra = ["--extra-model-paths-config", str(paths)]
    with ComfyServer(COMFYUI, log=home / "server.log", extra_args=extra, env=NARROW, **folders) as running:
        yield running


def ended(client: ComfyClient, graph: dict) -> Run | NodeFailed:
    """How the prompt ended; fails for one that never does."""
    found: queue.SimpleQueue[Run | Exception] = queue.SimpleQueue()

    def run() -> None:
        try:
            found.put(client.run(graph))
        except Exception as error:
            found.put(error)

    threading.Thread(target=run, daemon=True).start()
    try:
        end = found.get(timeout=PATIENCE)
    except queue.Empty:
        pytest.fail("the prompt never ended: ComfyUI's prompt worker is dead")
    if not isinstance(end, (Run, NodeFailed)):
        raise end
    return end


PICTURE = {"picture": node("EmptyImage", width=64, height=64, batch_size=1, color=255)}


def lines(name: str | bytes) -> dict:
    loader = node("Qwen2VLFluxAnyLineLoader", file=os.fsdecode(name))
    mapped = node("Qwen2VLFluxAnyLineMap", anyline=["loader", 0], image=["picture", 0], resolution=64)
    return {**PICTURE, "loader": loader, "map": mapped, "save": shown("image", "map", 0)}


def tokens(checkpoint: str | bytes, width: int = 64, height: int = 64) -> dict:
    loader = node("Qwen2VLLoader", checkpoint=os.fsdecode(checkpoint), weight_dtype="default")
    picture = node("EmptyImage", width=width, height=height, batch_size=1, color=255)
    encoded = node("Qwen2VLEncode", qwen2vl=["loader", 0], image=["picture", 0], token_budget=16)
    return {"picture": picture, "loader": loader, "encode": encoded, "save": shown("any", "encode", 0)}


UNNAMED = "has a name that is not UTF-8 text"
FAILING: dict[str, tuple[Callable[[], dict], str, str]] = {
    "a file whose name is no text": (lambda: lines(b"MT\xc9ED.safetensors"), UNNAMED, "rename it"),
    "a folder whose name is no text": (lambda: tokens(b"caf\xe9"), UNNAMED, "rename it"),
    "half a letter as a shard": (
        lambda: tokens("half a letter"),
        r"names '\ud800', not a .safetensors file",
        "download it again",
    ),
    "a line break in a shard's name": (lambda: tokens("a line break"), r"(a\n\u96ea.safetensors)", "download the"),
    "letters beyond the output in a shard's name": (lambda: tokens("snow"), r"(\u96ea.safetensors)", "download the"),
    "letters beyond the output in an entry": (lambda: tokens("garbled"), r"'\xd7\xd7", "download it again"),
    "our own letters": (lambda: tokens("demo", 1300, 4), "The image is 1300x4 pixels", "crop it or pad it first"),
}


@pytest.mark.parametrize("graph, thing, remedy", FAILING.values(), ids=[name.replace(" ", "_") for name in FAILING])
def test_the_next_prompt_runs(server, graph, thing, remedy):
    client = ComfyClient(server.url)
    failed = ended(client, graph())
    assert isinstance(ended(client, lines(f"demo/anyline/{LINES}")), Run)
    sentence = one_sentence(failed.message)
    assert sentence.isascii() and thing in sentence and remedy in sentence, sentence


@pytest.mark.parametrize("graph", [lambda: tokens("雪"), lambda: lines("MTEED 雪.safetensors")], ids=["folder", "file"])
def test_names_beyond_the_output_load(server, home, graph):
    """Their log lines are written too."""
    assert isinstance(ended(ComfyClient(server.url), graph()), Run)
    assert r"\u96ea" in (home / "server.log").read_text(encoding="cp1251")
