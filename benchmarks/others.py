"""The pack's time against that of other code, in the environment that dev.py sets up for the tests' oracles."""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from .comfyui import ROOT

TURNS = 3
MEASURE = """
import sys
from pathlib import Path
from benchmarks.{} import measure
Path(sys.argv[1]).write_text(measure())
"""


def measured_there(benchmark: str) -> str:
    """What `measure()` of a benchmark returns in that environment; what it prints is left out."""
    quiet = {**os.environ, "PYTHONWARNINGS": "ignore", "HF_HUB_OFFLINE": "1"}
    with tempfile.TemporaryDirectory() as place:
        result = Path(place) / "result.txt"
        command = [os.environ["ORACLE_PYTHON"], "-c", MEASURE.format(benchmark), str(result)]
        subprocess.run(command, cwd=ROOT, env=quiet, check=True, stdout=subprocess.DEVNULL)
        return result.read_text()


def in_turns(own: Callable[[], object], other: str, theirs: Callable[[], object]) -> str:
    """Medians of the pack and of the other, run in turns after one run each, and their ratio, as text."""
    ways = {"pack": own, other: theirs}
    seconds = {name: [] for name in ways}
    for way in ways.values():
        way()
    for _ in range(TURNS):
        for name, way in ways.items():
            began = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - began)
    pack, reference = (statistics.median(times) for times in seconds.values())
    return f"{pack:.2f} s, {other} {reference:.2f} s, ratio {pack / reference:.2f} (medians of {TURNS} turns)"
