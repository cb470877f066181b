"""What training/ imports: a system's folder imports the loop, the loop no system, and nothing ComfyUI."""

from __future__ import annotations

import json
import subprocess
import sys
from graphlib import TopologicalSorter

import pytest
from module_imports import imports_of

# Imports every module of training and train.py in a process of its own, and shows which of ComfyUI's came along.
EVERY_MODULE = """
import importlib, json, pkgutil, sys
sys.path.insert(0, sys.argv[1])
import train, training
modules = [each.name for each in pkgutil.walk_packages(training.__path__, "training.")]
for name in modules:
    importlib.import_module(name)
comfyui = [name for name in sys.modules if name.split(".")[0] in ("comfy", "comfy_extras", "folder_paths", "nodes")]
print(json.dumps([modules, comfyui]))
"""


@pytest.fixture(scope="module")
def imported(root) -> dict[str, set[str]]:
    return imports_of(root, "training")


def test_the_loop_knows_no_system(imported, root):
    """A system's folder knows the loop and the same system of systems/, and no other."""
    systems = {path.parent.name for path in (root / "training").glob("*/__init__.py")}
    assert "qwen2vl_flux" in systems
    for module, names in imported.items():
        own = systems.intersection(module.split(".")[1:2])
        for top, second in {tuple(name.split(".")[:2]) for name in names if "." in name}:
            assert top not in ("lab", "nodes", "tests", "benchmarks"), f"{module} imports {top}.{second}"
            if top == "systems" or (top == "training" and second in systems):
                assert second in {"common", *own}, f"{module} imports {top}.{second}"


def test_no_circles(imported):
    packages = {"training", "training.qwen2vl_flux"}
    graph = {module: names & (imported.keys() - packages) for module, names in imported.items()}
    order = list(TopologicalSorter(graph).static_order())  # raises CycleError, which names the circle
    assert order.index("training.recipe") < order.index("training.trainer") < order.index("training.qwen2vl_flux.run")


def test_comfyui_is_never_imported(root, imported):
    command = [sys.executable, "-c", EVERY_MODULE, root]
    modules, comfyui = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert set(modules) == set(imported) - {"training"} and comfyui == []
