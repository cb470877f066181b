"""Who imports whom: the rules of the house, which CONTRIBUTING.md has in words."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("nodes", "systems", "client", "training", "lab", "benchmarks")
# The packages that each may import, beside itself; scripts in the root may import all.
MAY_IMPORT = {
    "nodes": {"systems"},
    "systems": set(),
    "client": {"systems"},
    "training": {"systems", "client"},
    "lab": {"systems", "client", "training"},
    "benchmarks": {"systems", "client", "lab"},
}
COMFYUI = {"comfy", "comfy_api", "comfy_extras", "comfy_execution", "comfyui", "folder_paths", "server", "execution"}


def _name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {_name(path): path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))}


def imported(name: str) -> set[str]:
    """The names of modules that a module imports anywhere in it, in full: ours, and the packages of others."""
    path = MODULES[name]
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found.update(_in_full(alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: package.count(".") + 2 - node.level] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            source = source if node.level else _in_full(source)
            found |= {".".join(filter(None, (source, alias.name))) for alias in node.names} & MODULES.keys()
            found |= {source} - {package, ""}
    return found


def _in_full(source: str) -> str:
    """`nodes` is ComfyUI's module wherever it is imported by that name; the pack's own are imported relatively."""
    return f"comfyui.{source}" if source.split(".")[0] == "nodes" else source


IMPORTS = {name: imported(name) for name in MODULES}
OURS = {name: {each for each in found if each in MODULES} for name, found in IMPORTS.items()}


def _system(name: str) -> str | None:
    """The system that a module is part of; None of what all share."""
    parts = name.split(".")
    return parts[1] if parts[0] == "systems" and len(parts) > 1 and parts[1] != "common" else None


def test_the_rules_are_about_all_modules():
    assert len(MODULES) > 100 and sum(map(len, OURS.values())) > 200
    assert "systems.common.errors" in OURS["systems.common.weights.files"]
    assert "systems.qwen2vl_flux.encoder" in OURS["nodes.connector"]


def test_no_circle():
    graph = {name: {each for each in found if each != name} for name, found in OURS.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_run_downwards(package):
    upward = {
        f"{name} imports {each}"
        for name, found in OURS.items()
        if name.split(".")[0] == package
        for each in found
        if each.split(".")[0] not in {package, *MAY_IMPORT[package]}
    }
    assert not upward


def test_no_system_imports_another():
    assert not {
        f"{name} imports {each}"
        for name, found in OURS.items()
        for each in found
        if _system(each) and name.startswith("systems.") and _system(name) != _system(each)
    }


def test_the_loop_of_training_knows_no_system():
    """A system's folder of recipes knows the loop, what systems share, and its own system."""
    systems = {path.parent.name for path in (ROOT / "training").glob("*/__init__.py")}
    assert "qwen2vl_flux" in systems
    for name in (name for name in MODULES if name.startswith("training.")):
        own = name.split(".")[1]
        for package, part in (each.split(".")[:2] for each in OURS[name] if "." in each):
            if package == "systems" or (package == "training" and part in systems):
                assert part in {"common", own}, f"{name} imports {package}.{part}"


def test_folders_of_the_lab_share_its_world_alone():
    shared = {"world", *(path.stem for path in (ROOT / "lab").glob("*.py"))}
    for name in (name for name in MODULES if name.startswith("lab.") and name.count(".") == 2):
        for part in (each.split(".")[1] for each in OURS[name] if each.startswith("lab.")):
            assert part in {name.split(".")[1], *shared}, f"{name} imports lab.{part}"


def test_nodes_and_systems_are_imported_relatively():
    """ComfyUI has the pack under a name of its own."""
    for name in (name for name in MODULES if name.split(".")[0] in ("nodes", "systems")):
        for node in ast.walk(ast.parse(MODULES[name].read_text("utf-8"))):
            source = node.module if isinstance(node, ast.ImportFrom) and not node.level else None
            assert (source or "").split(".")[0] not in {*PACKAGES} - {"nodes"}, f"{name} imports {source} by its name"


def test_a_node_uses_one_system():
    for name in (name for name in MODULES if name.startswith("nodes.") and name != "nodes.types"):
        systems = {_system(each) for each in OURS[name] if each.startswith("systems.")} - {None}
        assert len(systems) <= 1, f"{name} imports {', '.join(sorted(systems))}"


def test_no_node_imports_anothers_module():
    shared = {"nodes", "nodes.checked", "nodes.types"}
    nodes = {name for name in MODULES if name.startswith("nodes.")} - shared
    assert not {f"{name} imports {each}" for name in nodes for each in OURS[name] if each in nodes}


def test_weights_and_plain_rooms_know_no_comfyui():
    """systems/common but for its folder comfy, whatever imports it."""
    plain = [name for name in MODULES if name.startswith("systems.common") and ".comfy" not in name]
    assert not {f"{name} imports {each}" for name in plain for each in IMPORTS[name] if each.split(".")[0] in COMFYUI}


def test_systems_know_neither_nodes_nor_servers():
    known = {"nodes", "comfyui", "server", "execution", "comfy_extras", "aiohttp"}
    systems = [name for name in MODULES if name.startswith("systems")]
    assert not {f"{name} imports {each}" for name in systems for each in IMPORTS[name] if each.split(".")[0] in known}


@pytest.mark.parametrize("package", ["training", "lab.demo", "lab.world"])
def test_what_training_uses_is_free_of_comfyui(package):
    """All that these modules import, themselves or by others of ours."""
    seen: set[str] = set()
    waiting = [name for name in MODULES if f"{name}.".startswith(f"{package}.")]
    assert waiting
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting += [*OURS[name], *(parent for parent in _parents(name) if parent in MODULES)]
    assert not {f"{name} imports {each}" for name in seen for each in IMPORTS[name] if each.split(".")[0] in COMFYUI}


def _parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]


def test_nothing_makes_modules():
    """Neither by hand, nor by another search path of a package, nor under another name."""
    sources = {**MODULES, **{path.stem: path for path in ROOT.glob("*.py")}}
    for name, path in sources.items():
        text = path.read_text("utf-8")
        for trick in ("ModuleType", "__path__ =", "spec_from_file_location", "sys.modules["):
            assert trick not in text, f"{name} has {trick}"


def test_systems_are_imported_by_their_name():
    """In a process without ComfyUI, as training does; a module of ComfyUI's would not be found."""
    code = "import systems.qwen2vl_flux.checkpoint, systems.qwen2vl_flux.focus, sys; print('comfy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "False\n"), done.stderr
