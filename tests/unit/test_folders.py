"""Where checkpoints are found: models folder, extra_model_paths, CHECKPOINT_DIR and the demo."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import folder_paths
import pytest
from sentences import one_sentence

from systems.annotators.anyline.annotator import FILES as ANYLINE
from systems.annotators.depth_anything.annotator import FILES as DEPTH_ANYTHING
from systems.annotators.sam2.annotator import FILES as SAM2
from systems.common.comfy.folders import DEMO, walk
from systems.common.errors import CheckpointError
from systems.flux_union.checkpoint import list_controlnets
from systems.qwen2vl_flux.folders import CHECKPOINTS

FOLDER_NAME = CHECKPOINTS.name


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The one folder that ComfyUI knows for checkpoints; CHECKPOINT_DIR is not set."""
    folder = tmp_path / "models" / FOLDER_NAME
    folder.mkdir(parents=True)
    monkeypatch.setitem(folder_paths.folder_names_and_paths, FOLDER_NAME, ([str(folder)], set()))
    monkeypatch.delenv("CHECKPOINT_DIR", raising=False)
    return folder


def make(folder: Path, *components: str) -> Path:
    for component in components or ("qwen2-vl", "flux"):
        (folder / component).mkdir(parents=True)
    return folder


def test_demo_is_always_there_and_last(models):
    assert CHECKPOINTS.names() == ["demo"]
    make(models / "zebra")
    make(models / "Antelope")
    assert CHECKPOINTS.names() == ["Antelope", "zebra", "demo"]
    assert CHECKPOINTS.folder("demo") == DEMO and CHECKPOINTS.folder("zebra") == models / "zebra"


def test_what_counts_as_a_checkpoint(models):
    make(models / "encoder only", "qwen2-vl")
    make(models / "flux only", "flux")
    make(models / "controlnet", "other")
    (models / "notes.txt").write_text("flux")
    (models / "empty").mkdir()
    (models / "a file inside").mkdir()
    (models / "a file inside" / "flux").write_text("not a folder")
    assert CHECKPOINTS.names() == ["encoder only", "flux only", "demo"]


def test_a_checkpoint_in_the_models_folder_itself(models):
    """qwen2-vl and flux unpacked straight into models/qwen2vl_flux."""
    make(models)
    assert CHECKPOINTS.names() == [FOLDER_NAME, "demo"]
    assert CHECKPOINTS.folder(FOLDER_NAME) == models


def test_checkpoint_dir_is_a_checkpoint(models, tmp_path, monkeypatch):
    own = make(tmp_path / "elsewhere" / "Qwen2vl-Flux")
    monkeypatch.setenv("CHECKPOINT_DIR", f"{own}/")
    assert CHECKPOINTS.names() == ["Qwen2vl-Flux", "demo"]
    assert CHECKPOINTS.folder("Qwen2vl-Flux") == own


def test_checkpoint_dir_holds_checkpoints(models, tmp_path, monkeypatch):
    make(tmp_path / "elsewhere" / "one")
    make(tmp_path / "elsewhere" / "two")
    make(models / "three")
    monkeypatch.setenv("CHECKPOINT_DIR", str(tmp_path / "elsewhere"))
    assert CHECKPOINTS.names() == ["one", "three", "two", "demo"]


def test_checkpoint_dir_is_the_current_folder(models, tmp_path, monkeypatch):
    own = make(tmp_path / "here")
    monkeypatch.chdir(own)
    monkeypatch.setenv("CHECKPOINT_DIR", ".")
    assert CHECKPOINTS.names() == ["here", "demo"]
    assert CHECKPOINTS.folder("here").resolve() == own


def test_of_two_with_one_name_checkpoint_dir_wins(models, tmp_path, monkeypatch):
    make(models / "same")
    own = make(tmp_path / "elsewhere" / "same")
    assert CHECKPOINTS.folder("same") == models / "same"
    monkeypatch.setenv("CHECKPOINT_DIR", str(own.parent))
    assert CHECKPOINTS.names() == ["same", "demo"]
    assert CHECKPOINTS.folder("same") == own


def test_a_demo_of_ones_own_wins(models):
    mine = make(models / "demo")
    assert CHECKPOINTS.names() == ["demo"]
    assert CHECKPOINTS.folder("demo") == mine


def test_register_keeps_extra_model_paths(monkeypatch, tmp_path):
    """extra_model_paths.yaml is read before custom nodes are loaded."""
    monkeypatch.delenv("CHECKPOINT_DIR", raising=False)
    extra = make(tmp_path / "nas" / "Qwen2vl-Flux").parent
    monkeypatch.setitem(folder_paths.folder_names_and_paths, FOLDER_NAME, ([str(extra)], {".safetensors"}))
    CHECKPOINTS.register()
    CHECKPOINTS.register()
    paths = folder_paths.get_folder_paths(FOLDER_NAME)
    assert paths == [str(extra), str(Path(folder_paths.models_dir) / FOLDER_NAME)]
    assert CHECKPOINTS.folder("Qwen2vl-Flux") == extra / "Qwen2vl-Flux"


@pytest.mark.parametrize("component, warned", [("qwen2-vl", False), ("unet", True)])
def test_register_warns_of_a_checkpoint_dir_without_one(models, tmp_path, monkeypatch, caplog, component, warned):
    monkeypatch.setenv("CHECKPOINT_DIR", str(make(tmp_path / "mine", component)))
    CHECKPOINTS.register()
    assert ("holds no checkpoint" in caplog.text) == warned


def test_register_on_an_untouched_comfyui(monkeypatch):
    monkeypatch.setattr(folder_paths, "folder_names_and_paths", {})
    CHECKPOINTS.register()
    assert folder_paths.get_folder_paths(FOLDER_NAME) == [str(Path(folder_paths.models_dir) / FOLDER_NAME)]
    assert folder_paths.folder_names_and_paths[FOLDER_NAME][1] == {".safetensors", ".pt"}


def unreadable(kind: str, place: Path) -> str:
    if kind == "a file":
        place.write_text("not a folder")
    elif kind == "a link to itself":
        place.symlink_to(place)
    elif kind == "a link to nothing":
        place.symlink_to(place.parent / "gone")
    elif kind == "a name too long":
        return str(place / ("x" * 5000))
    return str(place)


@pytest.mark.parametrize("kind", ["absent", "a file", "a link to itself", "a link to nothing", "a name too long"])
def test_unreadable_roots_hide_no_other(models, tmp_path, monkeypatch, kind):
    make(models / "good")
    monkeypatch.setenv("CHECKPOINT_DIR", unreadable(kind, tmp_path / "root"))
    assert CHECKPOINTS.names() == ["good", "demo"]


@pytest.mark.parametrize("kind", ["a file", "a link to itself", "a link to nothing"])
def test_unreadable_entries_hide_no_other(models, kind):
    make(models / "good")
    unreadable(kind, models / "bad")
    assert CHECKPOINTS.names() == ["good", "demo"]


@pytest.mark.parametrize("name", ["gone", "../demo", "", "good/flux", "demo\n"])
def test_a_name_that_is_not_listed(models, name):
    make(models / "good")
    with pytest.raises(CheckpointError) as raised:
        CHECKPOINTS.folder(name)
    sentence = one_sentence(raised.value)
    assert f"no checkpoint folder {name!r}" in sentence and str(models) in sentence and "CHECKPOINT_DIR" in sentence


def test_a_checkpoint_removed_after_listing(models):
    folder = make(models / "short-lived")
    assert "short-lived" in CHECKPOINTS.names()
    for component in folder.iterdir():
        component.rmdir()
    folder.rmdir()
    assert CHECKPOINTS.names() == ["demo"]
    with pytest.raises(CheckpointError, match="no checkpoint folder 'short-lived'"):
        CHECKPOINTS.folder("short-lived")


def tree(root: Path) -> Path:
    """A folder with two files, one of them deeper."""
    (root / "sub").mkdir(parents=True)
    (root / "a.pt").write_bytes(b"")
    (root / "sub" / "b.pt").write_bytes(b"")
    return root


def walked(root: Path) -> list[str]:
    return sorted((folder / name).relative_to(root).as_posix() for folder, _, files in walk(root) for name in files)


def linked(root: Path, kind: str) -> None:
    if kind == "two links to itself":
        for name in ("one", "two"):
            (root / name).symlink_to(root)
    elif kind == "two links from below":
        for name in ("one", "two"):
            (root / "sub" / name).symlink_to("..")
    elif kind == "links to the folder above":
        for name in ("one", "two"):
            (root / name).symlink_to("..")
    elif kind == "two folders that name each other":
        for name, other in (("one", "two"), ("two", "one")):
            (root / name).mkdir()
            for number in range(2):
                (root / name / f"{other}{number}").symlink_to(root / other)
    elif kind == "a ladder":
        for number in range(40):
            (root / f"step{number}").mkdir()
            for side in ("left", "right"):
                (root / f"step{number}" / side).symlink_to(root / f"step{number + 1}")
        (root / "step40").mkdir()


@pytest.mark.parametrize(
    "kind",
    [
        "two links to itself",
        "two links from below",
        "links to the folder above",
        "two folders that name each other",
        "a ladder",
    ],
)
def test_links_are_walked_once(tmp_path, kind):
    root = tree(tmp_path / "sam2")
    linked(root, kind)
    assert walked(root) == ["a.pt", "sub/b.pt"]


def test_links_to_elsewhere_are_walked(tmp_path):
    """Under the name of the link, to the bottom; what has a name of its own below the root keeps it."""
    tree(tmp_path / "nas")
    root = tree(tmp_path / "sam2")
    (root / "a link").symlink_to(tmp_path / "nas")
    (root / "a link that comes first").symlink_to(root / "sub")
    (tmp_path / "nas" / "back").symlink_to(root)
    assert walked(root) == ["a link/a.pt", "a link/sub/b.pt", "a.pt", "sub/b.pt"]
    (tmp_path / "sam2 by a link").symlink_to(root)
    assert walked(tmp_path / "sam2 by a link") == walked(root)


def test_folders_taken_out_are_not_entered(tmp_path):
    """As of os.walk's own, whether real or linked."""
    root = tree(tmp_path / "sam2")
    (root / "link").symlink_to(tree(tmp_path / "nas"))
    entered = []
    for folder, folders, _ in walk(root):
        entered.append(folder)
        folders.clear()
    assert entered == [root] and list(walk(tmp_path / "gone")) == []


@pytest.mark.parametrize("files", [DEPTH_ANYTHING, ANYLINE, SAM2], ids=lambda files: files.folder)
def test_annotators_behind_links(models, tmp_path, monkeypatch, files):
    place = tree(tmp_path / "annotators")
    linked(place, "two links to itself")
    monkeypatch.setitem(folder_paths.folder_names_and_paths, files.folder, ([str(place)], set()))
    assert [name for name in files.names() if not name.startswith("demo/")] == ["a.pt", "sub/b.pt"]


def test_controlnets_behind_links(models, tmp_path, monkeypatch):
    place = tree(tmp_path / "controlnet")
    linked(place, "a ladder")
    for folder in (place / "step39", place / "sub"):
        (folder / "config.json").write_text('{"_class_name": "FluxControlNetModel"}')
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "controlnet", ([str(place)], set()))
    assert list_controlnets() == ["step39", "sub", "demo/controlnet"]


LISTS = {
    "checkpoints": CHECKPOINTS.names,
    "depth": DEPTH_ANYTHING.names,
    "sam2": SAM2.names,
    "controlnets": list_controlnets,
}


@pytest.mark.parametrize("lists", LISTS.values(), ids=LISTS)
def test_the_cost_of_listing_grows_as_the_folders(models, monkeypatch, lists):
    """In the questions that are put to the file system."""
    for folder in (DEPTH_ANYTHING.folder, SAM2.folder, "controlnet"):
        monkeypatch.setitem(folder_paths.folder_names_and_paths, folder, ([], set()))
    asked = {}
    for count in (0, 20, 40):
        for number in range(count):
            if not (models / f"{number}").exists():
                make(models / f"{number}")
        calls = []
        with monkeypatch.context() as counting:
            for name in ("stat", "lstat", "scandir", "listdir"):
                counting.setattr(os, name, counted(getattr(os, name), calls))
            lists()
        asked[count] = len(calls)
    assert asked[40] > asked[20] > asked[0]
    assert asked[40] - asked[20] <= asked[20] - asked[0] + 5


def counted(function: Callable, calls: list) -> Callable:
    def call(*arguments, **named):
        calls.append(function)
        return function(*arguments, **named)

    return call
