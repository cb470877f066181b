"""Peak memory while the encoder loads, against the bytes of the weights it keeps (Linux)."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from lab.process_memory import resident, restart_high_water

from .comfyui import ROOT, start_comfyui

DTYPES = ("default", "fp8_e4m3fn")


def measure(folder: str, weight_dtype: str) -> dict:
    """Bytes of the weights kept, and by how many the process's resident memory rose at its highest."""
    start_comfyui()
    from systems.qwen2vl_flux.encoder import load_qwen2vl

    before = resident("VmRSS")
    restart_high_water()
    qwen2vl = load_qwen2vl(Path(folder), weight_dtype)
    peak = resident("VmHWM") - before
    kept = sum(value.numel() * value.element_size() for value in qwen2vl.network.state_dict().values())
    return {"kept": kept, "peak": peak}


def measure_apart(folder: Path, weight_dtype: str) -> dict:
    """`measure` in a process of its own."""
    code = (
        "import json, sys; from benchmarks.memory import measure; folder, dtype = sys.argv[1:];"
        "print(json.dumps(measure(folder, dtype)))"
    )
    command = [sys.executable, "-c", code, str(folder), weight_dtype]
    output = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return json.loads(output.splitlines()[-1])


def run() -> str:
    """Peak over kept for each storage, as text."""
    from . import random_checkpoint

    lines = []
    with tempfile.TemporaryDirectory() as place:
        folder = random_checkpoint.write(Path(place) / "random", random_checkpoint.GIGABYTE)
        stored = sum(path.stat().st_size for path in (folder / "qwen2-vl").glob("*.safetensors"))
        for weight_dtype in DTYPES:
            result = measure_apart(folder, weight_dtype)
            lines.append(
                f"encoder of {stored / 2**30:.2f} GiB of files, {weight_dtype}: keeps {result['kept'] / 2**30:.2f} "
                f"GiB, peak while loading {result['peak'] / result['kept']:.3f} of that"
            )
    return "\n".join(lines)
