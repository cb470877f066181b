"""Clients of other people on a real server: comfy-script, comfy-catapult, comfy-lint and comfy-test.

Each runs as a process of its own in an environment that knows nothing of ComfyUI, is given the bundled graphs as they
are, and may talk to the server alone (tests/clients/offline.py). comfy-cli's part is in test_workflows.py.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from urllib.request import urlopen

import pytest
from bundled import FOLDER, GRAPHS, canonical, only
from packing import packed_zip, working_tree
from PIL import Image
from runs import contrast, forget, history

from client.comfy_client import ComfyClient
from client.qwen2vl_flux.graph import Prompt, inpaint
from client.qwen2vl_flux.workflows import EXAMPLE, FOUR
from client.server import ComfyServer

MASK = "clients_mask.png"
# What comfy-script and comfy-catapult run: a bundled graph that shows a map, and inpainting with an uploaded mask.
# comfy-cli runs all that are bundled, in test_workflows.py.
RUNNING: dict[str, Prompt] = {
    "variation_with_focus": GRAPHS["variation_with_focus"],
    "inpaint_uploaded": inpaint(EXAMPLE, MASK, **FOUR),
}

Client = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def call(root: Path, clients: Path, tmp_path_factory: pytest.TempPathFactory) -> Client:
    """call(program or "-m", arguments...) runs a client, which must end well unless `status` says otherwise."""
    home = tmp_path_factory.mktemp("home")
    own = {name: str(home) for name in ("HOME", "USERPROFILE", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME")}
    # the last is for pydantic, which catapult's models make warn about itself
    environment = {**os.environ, **own, "DO_NOT_TRACK": "1", "PYTHONIOENCODING": "utf-8", "PYTHONWARNINGS": "ignore"}
    environment.pop("PYTHONPATH", None)

    def run(*arguments: object, cwd: Path = home, status: int = 0, **more: str) -> subprocess.CompletedProcess[str]:
        programs = root / "tests" / "clients"
        first = programs / f"{arguments[0]}.py" if arguments[0] != "-m" else "-m"
        command = [clients / "python", programs / "offline.py", first, *arguments[1:]]
        done = subprocess.run(
            [str(part) for part in command],
            cwd=cwd,
            env={**environment, **more},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=600,
        )
        assert done.returncode == status, f"{arguments} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        return done

    return run


@pytest.fixture(scope="module")
def mask(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """White on the right half."""
    path = tmp_path_factory.mktemp("mask") / MASK
    picture = Image.new("RGB", (128, 128))
    picture.paste((255, 255, 255), (64, 0, 128, 128))
    picture.save(path)
    return path


def written(graphs: dict[str, Prompt], folder: Path) -> list[Path]:
    """Each graph as a file <name>.json."""
    for name, graph in graphs.items():
        (folder / f"{name}.json").write_text(json.dumps(graph), encoding="utf-8")
    return [folder / f"{name}.json" for name in graphs]


@pytest.fixture(scope="module")
def graph_files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The bundled graphs in API form."""
    return written(GRAPHS, tmp_path_factory.mktemp("graphs"))


WORKFLOWS = sorted(FOLDER.glob("*.json"))


@pytest.fixture(scope="module")
def object_info(furnished: ComfyServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cache") / "object_info.json"
    with urlopen(f"{furnished.url}/object_info") as answer:
        path.write_bytes(answer.read())
    return path


# ---- prompts that run ------------------------------------------------------------------------------------------------


def check_runs(server: ComfyServer, before: set[str], same: Callable[[Prompt, Prompt], bool]) -> None:
    """Since `before` the server has run exactly RUNNING, each to its good end, and painted the pictures anew."""
    ran = [entry for prompt_id, entry in history(server).items() if prompt_id not in before]
    assert len(ran) == len(RUNNING)
    for entry in ran:
        _, _, prompt, *_ = entry["prompt"]
        assert sum(same(prompt, graph) for graph in RUNNING.values()) == 1
        assert entry["status"]["status_str"] == "success"
        cached = dict(entry["status"]["messages"])["execution_cached"]["nodes"]
        assert not {only(prompt, "SamplerCustomAdvanced"), only(prompt, "SaveImage")} & set(cached)


def pictures(folder: Path) -> dict[str, list[bytes]]:
    """Pixels of the saved pictures by name of their graph: four different ones each, none flat."""
    found = {}
    for name in RUNNING:
        made = [Image.open(folder / f"{name}_{number}.png").convert("RGB") for number in range(4)]
        assert {picture.size for picture in made} == {(128, 128)}
        assert all(contrast(picture) > 20 for picture in made)
        found[name] = [picture.tobytes() for picture in made]
        assert len(set(found[name])) == 4
    assert len(list(folder.glob("*.png"))) == 4 * len(RUNNING)
    return found


@pytest.fixture(scope="module")
def by_script(call: Client, furnished: ComfyServer, mask: Path, tmp_path_factory) -> dict[str, list[bytes]]:
    """The pictures that comfy-script's scripts make."""
    assert ComfyClient(furnished.url).upload_image(mask) == MASK
    files, folder = written(RUNNING, tmp_path_factory.mktemp("prompts")), tmp_path_factory.mktemp("script")
    before = forget(furnished)
    call("script", furnished.url, folder, "--run", *files)
    check_runs(furnished, before, lambda prompt, graph: canonical(prompt) == canonical(graph))
    return pictures(folder)


@pytest.fixture(scope="module")
def catapult(call: Client, furnished: ComfyServer, mask: Path, tmp_path_factory) -> Path:
    """The folder where comfy-catapult leaves its pictures and what it has seen."""
    files, folder = written(RUNNING, tmp_path_factory.mktemp("prompts")), tmp_path_factory.mktemp("catapult")
    before = forget(furnished)
    call("catapult", furnished.url, folder, mask, *files)
    check_runs(furnished, before, lambda prompt, graph: prompt == graph)
    return folder


def test_the_bundled_prompts_run_in_both(by_script, catapult) -> None:
    """As scripts and as jobs, each computed by itself: the same pictures to the last bit."""
    assert pictures(catapult) == by_script


def test_what_catapult_saw(furnished: ComfyServer, catapult: Path) -> None:
    seen = json.loads((catapult / "seen.json").read_text())
    assert seen["mask"] == MASK
    client = ComfyClient(furnished.url)
    info = client.object_info()
    ours = [name for name in info if info[name]["python_module"] == info["GridDotFocus"]["python_module"]]
    assert list(seen["nodes"]) == ours and len(ours) >= 20
    for name, entry in seen["nodes"].items():
        assert entry["display_name"] and entry["description"] and entry["category"].startswith("Qwen2VL-Flux")
        for group, inputs in info[name]["input"].items():
            assert list(entry["input"][group]) == list(inputs)
        assert entry["output"] == info[name]["output"]
    for name, entry in seen["histories"].items():
        assert entry["status"]["status_str"] == "success" and entry["status"]["completed"]
        saved = {node_id: output["images"] for node_id, output in entry["outputs"].items() if "images" in output}
        assert set(saved) == {node_id for node_id in RUNNING[name] if node_id.endswith("save")}
        assert all("griddot" in entry["outputs"][node_id] for node_id in entry["outputs"].keys() - saved)
        shown = [image for images in saved.values() for image in images]
        assert len(shown) == 4 + len(saved) - 1
        assert all(contrast(Image.open(io.BytesIO(client.fetch(image)))) > 2 for image in shown)


def test_nodes_by_their_python_names(call: Client, furnished: ComfyServer, tmp_path: Path) -> None:
    call("script_by_name", furnished.url, EXAMPLE, tmp_path / "picture.png")
    picture = Image.open(tmp_path / "picture.png").convert("RGB")
    told = json.loads((tmp_path / "picture.png.json").read_text())
    assert told["size"] == ["160", "96"]
    choices = "GridDotFocus.mode | str = 'scale'"
    inputs = f"tokens: Qwen2vlTokens, dots: str = '', mode: {choices}, mask: Mask | None = None"
    assert f"def __new__(cls, {inputs}) -> tuple[Qwen2vlTokens, Mask]: ..." in told["stubs"]
    assert picture.size == (160, 96) and contrast(picture) > 20


# ---- graphs that are read --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scripted(call: Client, furnished: ComfyServer, graph_files: list[Path], tmp_path_factory) -> dict[str, Path]:
    """By form the folder where comfy-script's scripts of all bundled graphs are, with the prompts they build."""
    folders = {form: tmp_path_factory.mktemp(form) for form in ("api", "ui")}
    call("script", furnished.url, folders["api"], *graph_files)
    call("script", furnished.url, folders["ui"], *WORKFLOWS)
    return folders


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("form", ["api", "ui"])
def test_graphs_survive_comfy_script(scripted: dict[str, Path], form: str, name: str) -> None:
    """Transpiled to Python and built again, the graph computes the same."""
    again = json.loads((scripted[form] / f"{name}.json").read_text())
    assert canonical(again) == canonical(GRAPHS[name])


def test_comfy_lint_is_content(
    call: Client, object_info: Path, graph_files: list[Path], scripted: dict[str, Path]
) -> None:
    """With the graphs, and with every workflow as comfy-script reads it; warnings count."""
    files = [*graph_files, *(scripted["ui"] / path.name for path in WORKFLOWS)]
    done = call("-m", "comfy_lint.cli", "--schema-cache", object_info, "--strict", "--json", *files)
    found = json.loads(done.stdout)
    assert found["summary"] == {"files": 2 * len(GRAPHS), "errors": 0, "warnings": 0, "unreadable": 0}
    assert found["strict"] and found["schema_source"] == str(object_info)


def test_comfy_lint_knows_the_nodes(call: Client, object_info: Path, tmp_path: Path) -> None:
    """What is wrong with a graph of ours is an error to it, from the definitions alone."""
    graph = json.loads(json.dumps(GRAPHS["sam2_focus"]))
    graph["connect"]["inputs"]["tokens"] = ["segment", 0]
    graph["focus"]["inputs"]["mode"] = "forget"
    graph["sam2"]["inputs"]["file"] = "sam3.pt"
    graph["segment"]["inputs"]["score"] = 1.0
    del graph["encode"]["inputs"]["image"]
    files = written({"broken": graph}, tmp_path)
    done = call("-m", "comfy_lint.cli", "--schema-cache", object_info, "--json", *files, status=1)
    (file,) = json.loads(done.stdout)["files"]
    assert {(entry["node_id"], entry["rule"], entry["field"]) for entry in file["diagnostics"]} == {
        ("connect", "type-mismatch", "tokens"),
        ("focus", "invalid-enum", "mode"),
        ("sam2", "invalid-enum", "file"),
        ("segment", "extraneous-input", "score"),
        ("encode", "missing-required", "image"),
    }


# ---- comfy-test ------------------------------------------------------------------------------------------------------

LEVELS = '[test]\nlevels = ["syntax", "hazards", "registration", "javascript"]\n'


@pytest.fixture(scope="module")
def packed(root: Path, tools: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pack as the Registry would hand it out."""
    place = tmp_path_factory.mktemp("published")
    archive = packed_zip(working_tree(root, place / "tree"), tools)
    with zipfile.ZipFile(archive) as packed:
        packed.extractall(place / "ComfyUI-Qwen2VL-Flux")
    return place / "ComfyUI-Qwen2VL-Flux"


def test_comfy_test_lints_the_pack(call: Client, packed: Path) -> None:
    done = call("-m", "comfy_test", "lint", packed, "--json", "--strict")
    found = json.loads(done.stdout)
    assert found["passed"] and found["checks"] == ["syntax", "javascript"] and not found["config_warning"]
    assert found["results"]["javascript"]["summary"] == {"errors": 0, "warnings": 0}


def test_comfy_test_finds_the_pack_registered(call: Client, packed: Path, furnished: ComfyServer, tmp_path) -> None:
    """Up to its level JAVASCRIPT, with what the server said at its start, and with no hazard for ComfyUI's process."""
    (packed / "comfy-test.toml").write_text(LEVELS)
    log = shutil.copy(furnished.log, tmp_path / "server.log")
    arguments = ["run", "--server-url", furnished.url, "--level", "javascript"]
    done = call("-m", "comfy_test", *arguments, cwd=packed, COMFY_TEST_LOGS_DIR=str(tmp_path))
    for said in (f"(log: {log})", "No import errors detected", "Hazards check: clean", "[JAVASCRIPT] PASSED"):
        assert said in done.stdout


def test_comfy_test_validates_the_workflows(call: Client, object_info: Path) -> None:
    errors = json.loads(call("validation", object_info, *WORKFLOWS).stdout)
    assert errors == {f"{name}.json": [] for name in GRAPHS}


# ---- the watch over the clients --------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["192.0.2.1", "download.example"])
def test_clients_cannot_reach_others(call: Client, host: str) -> None:
    done = call("-m", "comfy_lint.cli", "--server", f"http://{host}", "graph.json", status=1)
    assert f"asked for {host}" in done.stderr
