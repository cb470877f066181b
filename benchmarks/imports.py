"""What the import of the pack adds to ComfyUI's start."""

from __future__ import annotations

import asyncio
import builtins
import json
import statistics
import subprocess
import sys
import time

from .comfyui import ROOT, start_comfyui

RUNS = 5
WATCHED = ("transformers", "cv2", "diffusers", "accelerate", "peft", "sam2")


def measure() -> dict:
    """{"milliseconds": time of the import, "asked_for": watched packages that a module of the pack imports}."""
    start_comfyui()
    asked_for = set()
    own_import = builtins.__import__

    def watching(name, globals=None, locals=None, fromlist=(), level=0):
        package = (globals or {}).get("__name__", "")
        if package.startswith(str(ROOT).replace(".", "_x_")) and level == 0 and name.split(".")[0] in WATCHED:
            asked_for.add(name)
        return own_import(name, globals, locals, fromlist, level)

    import nodes

    builtins.__import__ = watching
    try:
        began = time.perf_counter()
        assert asyncio.run(nodes.load_custom_node(str(ROOT), module_parent="custom_nodes"))
        seconds = time.perf_counter() - began
    finally:
        builtins.__import__ = own_import
    return {"milliseconds": seconds * 1000, "asked_for": sorted(asked_for)}


def run() -> str:
    """Median over fresh processes, as text."""
    code = "import json; from benchmarks.imports import measure; print(json.dumps(measure()))"
    command = [sys.executable, "-c", code]
    results = []
    for _ in range(RUNS):
        output = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
        results.append(json.loads(output.splitlines()[-1]))
    milliseconds = [result["milliseconds"] for result in results]
    asked_for = sorted({name for result in results for name in result["asked_for"]})
    return (
        f"import of the pack into ComfyUI: {statistics.median(milliseconds):.0f} ms "
        f"({min(milliseconds):.0f} to {max(milliseconds):.0f}, {RUNS} processes); "
        f"of {', '.join(WATCHED)} it imports: {', '.join(asked_for) or 'none'}"
    )
