"""The real script killed twice while it saves, and taken up again: bit for bit the run without a break."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from training.output import Output

# Seconds that a step of a run may take to come, on a machine that does much else.
PATIENCE = 600.0
# Runs a script that is killed as it is about to do something, such as `os.rename`, to a path with a certain part.
KILLED = """
import os, runpy, signal, sys
event, part, script = sys.argv[1:4]
def watch(name, arguments):
    if name == event and any(part in str(each) for each in arguments):
        os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(watch)
sys.argv = sys.argv[3:]
runpy.run_path(script, run_name="__main__")
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name != "posix", reason="only POSIX can stop and kill so"),
]


@pytest.fixture
def start(root, demo, pictures) -> Iterator[Callable[..., subprocess.Popen]]:
    """start(output, *flags) begins six steps, with a checkpoint after every second one; killed_at: an audit event and a
    part of a path, at which the process ends."""
    flags = ["--checkpoint", demo, "--data", pictures, "--blocks", "all", "--side", "64", "--batch_size", "1"]
    flags += ["--steps", "6", "--save_every", "2", "--sample_every", "0", "--lr", "1e-3"]
    begun = []

    def begin(output: Output, *more: str, killed_at: tuple[str, str] = ()) -> subprocess.Popen:
        script = ["-c", KILLED, *killed_at, root / "train.py"] if killed_at else [root / "train.py"]
        command = [sys.executable, *script, *flags, "--output", output.root, *more]
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


def ended(process: subprocess.Popen, status: int = 0) -> str:
    said = process.communicate(timeout=PATIENCE)[0]
    assert process.returncode == status, said
    return said


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_killed_twice(start, tmp_path):
    whole, broken = Output(tmp_path / "whole"), Output(tmp_path / "broken")
    assert "from step 0" in ended(start(whole))

    half_written = ("os.link", ".step-000004/flux/vae")
    assert "from step 0" in ended(start(broken, killed_at=half_written), -signal.SIGKILL)
    assert [path.name for path in broken.partial()] == [".step-000004"] and broken.newest()[0] == 2
    for name, data in contents(whole.checkpoint(2)).items():
        assert (broken.checkpoint(2) / name).read_bytes() == data

    two_states = ("shutil.rmtree", "step-000002/training")
    assert "from step 2" in ended(start(broken, "--resume", killed_at=two_states), -signal.SIGKILL)
    assert broken.newest()[0] == 4 and not broken.partial()
    assert [(path / "training").is_dir() for _, path in broken.whole()] == [True, True]

    assert "from step 4" in ended(start(broken, "--resume"))
    assert [(path / "training").is_dir() for _, path in broken.whole()] == [False, False, True]
    one, two = contents(whole.checkpoint(6)), contents(broken.checkpoint(6))
    assert {"training/state.safetensors", "qwen2-vl/connector.pt"} < set(one)
    assert [name for name in one if one[name] != two.get(name)] == [] and set(one) == set(two)
    logs = [[json.loads(line) for line in output.log.read_text().splitlines()] for output in (whole, broken)]
    assert [{**line, "seconds": 0} for line in logs[0]] == [{**line, "seconds": 0} for line in logs[1]]
    assert [line["step"] for line in logs[0]] == [2, 4, 6] and logs[0][0]["loss"] != logs[0][1]["loss"]
    assert all(one["seconds"] < two["seconds"] for one, two in itertools.pairwise(logs[1]))


def test_ctrl_c(start, tmp_path):
    output = Output(tmp_path)
    process = start(output)
    wait_for(tmp_path / ".lock", process)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=PATIENCE)[0]
    assert process.returncode == 130 and "Traceback" not in said
    assert said.endswith(f"train.py: Stopped; --resume goes on from the newest checkpoint in {tmp_path}.\n")
