"""The pack as the Registry, the Manager and old Pythons will meet it."""

from __future__ import annotations

import ast
import re
import sys
import zipfile
from pathlib import Path
from urllib.parse import unquote

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


@pytest.fixture(scope="module")
def packed(copy: Path, tools: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the Registry hands out, unpacked."""
    archive, folder = packed_zip(copy, tools), tmp_path_factory.mktemp("packed").resolve()
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(folder)
    archive.unlink()
    return folder


def test_requirements_are_the_declared_dependencies(root: Path, project: dict) -> None:
    lines = (root / "requirements.txt").read_text().splitlines()
    assert [line for line in lines if line and not line.startswith("#")] == project["project"]["dependencies"]


def test_project_carries_what_the_registry_asks_for(root: Path, project: dict) -> None:
    comfy = project["tool"]["comfy"]
    assert project["project"]["name"] == "comfyui-qwen2vl-flux"
    assert comfy["PublisherId"] == "qwen2vl-flux"
    assert comfy["requires-comfyui"] == ">=0.20.1"
    assert (root / project["project"]["license"]["file"]).read_text().lstrip().startswith("Apache License")
    assert (root / project["project"]["readme"]).is_file()


def test_registry_validates_the_pack(copy: Path, tools: Path) -> None:
    done = run([tools / "comfy", "--skip-prompt", "node", "validate"], copy)
    said = done.stdout + done.stderr  # comfy-cli chooses between the two by how it was started
    assert "All validation checks passed" in said
    assert "Warning" not in said


def test_package_holds_what_users_run_and_no_tests(packed: Path) -> None:
    assert {"__init__.py", "nodes", "systems", "client", "demo", "web", "requirements.txt"} <= {
        path.name for path in packed.iterdir()
    }
    for name in ("tests", "benchmarks", "lab", "training", "train.py", "dev.py", ".ci", ".dev"):
        assert not (packed / name).exists()
    assert list((packed / "demo").rglob("*.safetensors"))


def test_links_of_packed_pages_lead_to_packed_files(packed: Path) -> None:
    """Also those to a heading, and from help pages, whose addresses the interface looks for in the folder of them all.
    A folder is no page."""
    help_pages, followed = packed / "web" / "docs", set()
    for page in packed.rglob("*.md"):
        text = page.read_text("utf-8")
        base = help_pages if help_pages in page.parents else page.parent
        for link in re.findall(r"\]\((?!\w+:)([^)\s]+)\)", text):
            address, _, heading = link.partition("#")
            target = (base / unquote(address)).resolve() if address else page
            assert target.is_file() and packed in target.parents, f"{page.relative_to(packed)} links to {link}"
            if heading:
                assert heading in headings(target), f"{page.relative_to(packed)} links to {link}"
            followed.add(target.relative_to(packed).as_posix())
    pages = {"CONTRIBUTING.md", "docs/qwen2vl-flux.md", "docs/training.md", "docs/command-line.md"}
    assert {"LICENSE", "docs/panel.jpg", "demo/training/curve.png", *pages} <= followed


def headings(page: Path) -> set[str]:
    """What GitHub calls the headings of a page in addresses."""
    found = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


def test_programs_in_packed_pages_find_what_they_import(packed: Path) -> None:
    pages = [page.read_text("utf-8") for page in packed.rglob("*.md")]
    programs = [program for text in pages for program in re.findall(r"```python\n(.*?)```", text, re.DOTALL)]
    assert programs
    for program in programs:
        imports = [part for part in ast.parse(program).body if isinstance(part, (ast.Import, ast.ImportFrom))]
        run([sys.executable, "-c", "\n".join(map(ast.unparse, imports))], packed)


def test_modules_of_the_package_import_what_is_in_it(packed: Path) -> None:
    """By relative imports, and by those of the programs, which begin at the pack's own folder."""
    imported = set()
    for source in packed.rglob("*.py"):
        for node in ast.walk(ast.parse(source.read_text("utf-8"))):
            if not isinstance(node, ast.ImportFrom):
                continue
            parts = (node.module or "").split(".")
            if node.level == 0 and parts[0] not in ("systems", "client", "training", "lab", "benchmarks"):
                continue
            base = source.parents[node.level - 1] if node.level else packed
            target = base.joinpath(*filter(None, parts))
            assert target.with_suffix(".py").is_file() or (target / "__init__.py").is_file() or target == packed, (
                f"{source.relative_to(packed)} imports {'.' * node.level}{node.module or ''}"
            )
            imported.add(target.relative_to(packed).as_posix())
    assert {
        "nodes",
        "client/qwen2vl_flux/generate",
        "systems/common/errors",
        "systems/common/weights/shards",
    } <= imported


@pytest.mark.parametrize("rules", [["--select", "S102,S307,E702", "--isolated"], []], ids=["registry", "own"])
def test_ruff_finds_nothing(copy: Path, tools: Path, rules: list[str]) -> None:
    run([tools / "ruff", "check", "--no-cache", *rules, "."], copy)


def test_sources_are_python_3_10(copy: Path) -> None:
    sources = list(copy.rglob("*.py"))
    assert copy / "dev.py" in sources
    for source in sources:
        ast.parse(source.read_text(encoding="utf-8"), filename=str(source), feature_version=(3, 10))
