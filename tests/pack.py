"""The pack as ComfyUI itself loads it into this process: its node classes, and the modules behind them.

What the pack imports is its own copy of `systems`, as beside other packs; a test that meets the nodes' errors or types
takes them from here.
"""

from __future__ import annotations

import asyncio
import importlib
from pathlib import Path
from types import ModuleType

import utils.extra_config  # noqa: F401  # before nodes, as in main.py: nodes puts comfy/, with its own utils, in front

# isort: split
import nodes
from comfy_api.latest import io

ROOT = Path(__file__).resolve().parent.parent


def _load() -> dict[str, type[io.ComfyNode]]:
    before = set(nodes.NODE_CLASS_MAPPINGS)
    assert asyncio.run(nodes.load_custom_node(str(ROOT), module_parent="custom_nodes")), "see the log above"
    return {name: node for name, node in nodes.NODE_CLASS_MAPPINGS.items() if name not in before}


NODES = _load()


def module(name: str) -> ModuleType:
    """A module of the loaded pack, such as `nodes.checked`."""
    return importlib.import_module(f"{str(ROOT).replace('.', '_x_')}.{name}")
