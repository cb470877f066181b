"""No module of training/, nor train.py, brings ComfyUI along; tests/unit/test_imports.py reads it from the sources."""

from __future__ import annotations

import json
import subprocess
import sys

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


def test_comfyui_is_never_imported(root):
    done = subprocess.run([sys.executable, "-c", EVERY_MODULE, root], capture_output=True, text=True, check=True)
    modules, comfyui = json.loads(done.stdout)
    assert {"training.trainer", "training.qwen2vl_flux.run"} <= set(modules) and comfyui == []
