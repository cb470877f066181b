"""The pack as the Registry, the Manager and old Pythons will meet it."""

from __future__ import annotations

import ast
import zipfile
from pathlib import Path

import pytest
from packing import packed_zip, run, working_tree

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    from pip._vendor import tomli as tomllib


@pytest.fixture(scope="module")
def project(root: Path) -> dict:
    return tomllib.loads((root / "pyproject.toml").read_text())


@pytest.fixture(scope="module")
def copy(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return working_tree(root, tmp_path_factory.mktemp("pack") / "ComfyUI-Qwen2VL-Flux")


def test_requirements_are_the_declared_dependencies(root: Path, project: dict) -> None:
    lines = (root / "requirements.txt").read_text().splitlines()
    assert [line for line in lines if line and not line.startswith("#")] == project["project"]["dependencies"]


def test_project_carries_what_the_registry_asks_for(root: Path, project: dict) -> None:
    comfy = project["tool"]["comfy"]
    assert project["project"]["name"] == "comfyui-qwen2vl-flux"
    assert comfy["PublisherId"] == "qwen2vl-flux"
    assert comfy["requires-comfyui"] == ">=0.30.0"
    assert (root / project["project"]["license"]["file"]).read_text().lstrip().startswith("Apache License")
    assert (root / project["project"]["readme"]).is_file()


def test_registry_validates_the_pack(copy: Path, tools: Path) -> None:
    done = run([tools / "comfy", "--skip-prompt", "node", "validate"], copy)
    said = done.stdout + done.stderr  # comfy-cli chooses between the two by how it was started
    assert "All validation checks passed" in said
    assert "Warning" not in said


def test_packed_zip_holds_what_users_run_and_no_tests(copy: Path, tools: Path) -> None:
    archive = packed_zip(copy, tools)
    with zipfile.ZipFile(archive) as packed:
        names = packed.namelist()
    top = {name.split("/")[0] for name in names}
    assert {"__init__.py", "nodes", "models", "checkpoints", "automation", "demo", "web", "requirements.txt"} <= top
    assert not top & {"tests", "benchmarks", "thumbnails", "training", "dev.py", ".ci", ".dev"}
    assert any(name.startswith("demo/") and name.endswith(".safetensors") for name in names)
    shown = {"demo/training/curve.png", "demo/training/samples.jpg"}  # by the card
    assert {"demo/README.md", *shown} <= set(names)
    archive.unlink()


@pytest.mark.parametrize("rules", [["--select", "S102,S307,E702", "--isolated"], []], ids=["registry", "own"])
def test_ruff_finds_nothing(copy: Path, tools: Path, rules: list[str]) -> None:
    run([tools / "ruff", "check", "--no-cache", *rules, "."], copy)


def test_sources_are_python_3_10(copy: Path) -> None:
    sources = list(copy.rglob("*.py"))
    assert copy / "dev.py" in sources
    for source in sources:
        ast.parse(source.read_text(encoding="utf-8"), filename=str(source), feature_version=(3, 10))
