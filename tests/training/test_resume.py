"""The real script killed twice, once while it saves, and taken up again: bit for bit the run without a break."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from qwen2vl_flux_pack.training.output import Output

PATIENCE = 600.0
"""Seconds that a step of a run may take to come, on a machine that does much else."""

pytestmark = pytest.mark.skipif(os.name != "posix", reason="only POSIX can stop and kill so")


@pytest.fixture
def start(root, demo, pictures) -> Iterator[Callable[..., subprocess.Popen]]:
    """start(output, *flags) begins six steps, with a checkpoint after every second one."""
    flags = ["--checkpoint", demo, "--data", pictures, "--blocks", "all", "--side", "64", "--batch_size", "1"]
    flags += ["--steps", "6", "--save_every", "2", "--sample_every", "0", "--lr", "1e-3"]
    begun = []

    def begin(output: Output, *more: str) -> subprocess.Popen:
        command = [sys.executable, root / "train.py", *flags, "--output", output.root, *more]
        environ = {**os.environ, "OMP_NUM_THREADS": "1"}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        begun.append(subprocess.Popen([str(part) for part in command], env=environ, **pipes))
        return begun[-1]

    yield begin
    for process in begun:
        process.kill()
        process.wait()


def wait_for(path: Path, process: subprocess.Popen) -> None:
    """Until a path is there, while the process that makes it runs."""
    end = time.monotonic() + PATIENCE
    while not path.exists():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end
        time.sleep(0.002)


def finished(process: subprocess.Popen) -> str:
    said = process.communicate(timeout=PATIENCE)[0]
    assert process.returncode == 0, said
    return said


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_killed_twice(start, tmp_path):
    whole, broken = Output(tmp_path / "whole"), Output(tmp_path / "broken")
    assert "from step 0" in finished(start(whole))

    process = start(broken)
    partial = broken.checkpoint(4).with_name(".step-000004")
    wait_for(partial, process)
    process.send_signal(signal.SIGSTOP)
    assert partial.is_dir()
    process.kill()
    process.wait()
    assert partial.is_dir() and not broken.checkpoint(4).exists() and broken.newest()[0] == 2
    for name, data in contents(whole.checkpoint(2)).items():
        assert (broken.checkpoint(2) / name).read_bytes() == data

    process = start(broken, "--resume")
    wait_for(broken.checkpoint(4), process)
    process.kill()
    assert "from step 2" in process.communicate()[0]
    assert broken.newest()[0] == 4 and not broken.partial()

    assert "from step 4" in finished(start(broken, "--resume"))
    one, two = contents(whole.checkpoint(6)), contents(broken.checkpoint(6))
    assert {"training/state.safetensors", "qwen2-vl/connector.pt"} < set(one)
    assert [name for name in one if one[name] != two.get(name)] == [] and set(one) == set(two)
    logs = [[json.loads(line) for line in output.log.read_text().splitlines()] for output in (whole, broken)]
    assert [{**line, "seconds": 0} for line in logs[0]] == [{**line, "seconds": 0} for line in logs[1]]
    assert [line["step"] for line in logs[0]] == [2, 4, 6] and logs[0][0]["loss"] != logs[0][1]["loss"]
    assert all(one["seconds"] < two["seconds"] for one, two in zip(logs[1], logs[1][1:], strict=False))


def test_ctrl_c(start, tmp_path):
    output = Output(tmp_path)
    process = start(output)
    wait_for(tmp_path / ".lock", process)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=PATIENCE)[0]
    assert process.returncode == 130 and "Traceback" not in said
    assert said.endswith(f"train.py: Stopped; --resume goes on from the newest checkpoint in {tmp_path}.\n")
