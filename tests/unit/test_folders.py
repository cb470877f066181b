"""Where checkpoints are found: models folder, extra_model_paths, CHECKPOINT_DIR and the demo."""

from __future__ import annotations

from pathlib import Path

import folder_paths
import pytest
from sentences import one_sentence

from qwen2vl_flux_pack.checkpoints.folders import DEMO, FOLDER_NAME, checkpoint_folder, list_checkpoints, register
from qwen2vl_flux_pack.errors import CheckpointError


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
    assert list_checkpoints() == ["demo"]
    make(models / "zebra")
    make(models / "Antelope")
    assert list_checkpoints() == ["Antelope", "zebra", "demo"]
    assert checkpoint_folder("demo") == DEMO and checkpoint_folder("zebra") == models / "zebra"


def test_what_counts_as_a_checkpoint(models):
    make(models / "encoder only", "qwen2-vl")
    make(models / "flux only", "flux")
    make(models / "controlnet", "other")
    (models / "notes.txt").write_text("flux")
    (models / "empty").mkdir()
    (models / "a file inside").mkdir()
    (models / "a file inside" / "flux").write_text("not a folder")
    assert list_checkpoints() == ["encoder only", "flux only", "demo"]


def test_a_checkpoint_in_the_models_folder_itself(models):
    """qwen2-vl and flux unpacked straight into models/qwen2vl_flux."""
    make(models)
    assert list_checkpoints() == [FOLDER_NAME, "demo"]
    assert checkpoint_folder(FOLDER_NAME) == models


def test_checkpoint_dir_is_a_checkpoint(models, tmp_path, monkeypatch):
    own = make(tmp_path / "elsewhere" / "Qwen2vl-Flux")
    monkeypatch.setenv("CHECKPOINT_DIR", f"{own}/")
    assert list_checkpoints() == ["Qwen2vl-Flux", "demo"]
    assert checkpoint_folder("Qwen2vl-Flux") == own


def test_checkpoint_dir_holds_checkpoints(models, tmp_path, monkeypatch):
    make(tmp_path / "elsewhere" / "one")
    make(tmp_path / "elsewhere" / "two")
    make(models / "three")
    monkeypatch.setenv("CHECKPOINT_DIR", str(tmp_path / "elsewhere"))
    assert list_checkpoints() == ["one", "three", "two", "demo"]


def test_checkpoint_dir_is_the_current_folder(models, tmp_path, monkeypatch):
    own = make(tmp_path / "here")
    monkeypatch.chdir(own)
    monkeypatch.setenv("CHECKPOINT_DIR", ".")
    assert list_checkpoints() == ["here", "demo"]
    assert checkpoint_folder("here").resolve() == own


def test_of_two_with_one_name_checkpoint_dir_wins(models, tmp_path, monkeypatch):
    make(models / "same")
    own = make(tmp_path / "elsewhere" / "same")
    assert checkpoint_folder("same") == models / "same"
    monkeypatch.setenv("CHECKPOINT_DIR", str(own.parent))
    assert list_checkpoints() == ["same", "demo"]
    assert checkpoint_folder("same") == own


def test_a_demo_of_ones_own_wins(models):
    mine = make(models / "demo")
    assert list_checkpoints() == ["demo"]
    assert checkpoint_folder("demo") == mine


def test_register_keeps_extra_model_paths(monkeypatch, tmp_path):
    """extra_model_paths.yaml is read before custom nodes are loaded."""
    monkeypatch.delenv("CHECKPOINT_DIR", raising=False)
    extra = make(tmp_path / "nas" / "Qwen2vl-Flux").parent
    monkeypatch.setitem(folder_paths.folder_names_and_paths, FOLDER_NAME, ([str(extra)], {".safetensors"}))
    register()
    register()
    paths = folder_paths.get_folder_paths(FOLDER_NAME)
    assert paths == [str(extra), str(Path(folder_paths.models_dir) / FOLDER_NAME)]
    assert checkpoint_folder("Qwen2vl-Flux") == extra / "Qwen2vl-Flux"


@pytest.mark.parametrize("component, warned", [("qwen2-vl", False), ("unet", True)])
def test_register_warns_of_a_checkpoint_dir_without_one(models, tmp_path, monkeypatch, caplog, component, warned):
    monkeypatch.setenv("CHECKPOINT_DIR", str(make(tmp_path / "mine", component)))
    register()
    assert ("holds no checkpoint" in caplog.text) == warned


def test_register_on_an_untouched_comfyui(monkeypatch):
    monkeypatch.setattr(folder_paths, "folder_names_and_paths", {})
    register()
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
    assert list_checkpoints() == ["good", "demo"]


@pytest.mark.parametrize("kind", ["a file", "a link to itself", "a link to nothing"])
def test_unreadable_entries_hide_no_other(models, kind):
    make(models / "good")
    unreadable(kind, models / "bad")
    assert list_checkpoints() == ["good", "demo"]


@pytest.mark.parametrize("name", ["gone", "../demo", "", "good/flux", "demo\n"])
def test_a_name_that_is_not_listed(models, name):
    make(models / "good")
    with pytest.raises(CheckpointError) as raised:
        checkpoint_folder(name)
    sentence = one_sentence(raised.value)
    assert f"no checkpoint folder {name!r}" in sentence and str(models) in sentence and "CHECKPOINT_DIR" in sentence


def test_a_checkpoint_removed_after_listing(models):
    folder = make(models / "short-lived")
    assert "short-lived" in list_checkpoints()
    for component in folder.iterdir():
        component.rmdir()
    folder.rmdir()
    assert list_checkpoints() == ["demo"]
    with pytest.raises(CheckpointError, match="no checkpoint folder 'short-lived'"):
        checkpoint_folder("short-lived")
