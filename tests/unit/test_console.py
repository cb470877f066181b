"""How the programs end: Ctrl-C while they begin, streams that are closed, full or not read, a folder that is gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from sentences import one_sentence

PROGRAMS = {
    "generate.py": ["--mode", "variation", "--steps", "0"],
    "dev.py": ["serve", "--port", "0"],
}


@pytest.fixture(params=PROGRAMS)
def program(request: pytest.FixtureRequest, root: Path) -> list[str]:
    return [sys.executable, str(root / request.param)]


def shell(command: list[str], end: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command with something behind it that the shell does."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    line = ["bash", "-c", f'"$@" {end}', "-", *command]
    return subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("module", ["signal", "argparse", "tempfile", "client.arguments", "client.installation"])
def test_ctrl_c_while_modules_are_imported(program, module):
    """Python tells of each module that it has imported, from the first that the program asks for."""
    command = [program[0], "-X", "importtime", *program[1:], "--help"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        for line in running.stderr:
            if line.rstrip().endswith(f" {module}"):
                running.send_signal(signal.SIGINT)
                break
        else:
            pytest.fail(f"{module} is not imported")
        _, errors = running.communicate(timeout=60)
    assert not [line for line in errors.splitlines() if not line.startswith("import time:")]
    assert running.returncode in (130, -signal.SIGINT)  # the latter where Python itself had begun to end


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_streams_that_are_closed(program, tmp_path, closed):
    done = shell([*program, "--help"], closed, tmp_path)
    assert done.returncode == 0 and not done.stderr
    assert bool(done.stdout) == (">&-" not in closed.split())
    arguments = PROGRAMS[Path(program[1]).name]
    done = shell([*program, *arguments], closed, tmp_path)
    assert done.returncode == 2 and not done.stdout
    assert not done.stderr if "2>&-" in closed else one_sentence(done.stderr.removesuffix("\n"))


def test_what_is_printed_for_nobody(program, tmp_path):
    """As in `generate.py --help | head -0`, with a reader that is gone before."""
    done = shell([*program, "--help"], '| (exec <&-; sleep 1); exit "${PIPESTATUS[0]}"', tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")
    wrong = [*program, *PROGRAMS[Path(program[1]).name]]
    done = shell(wrong, '2>&1 | (exec <&-; sleep 1); exit "${PIPESTATUS[0]}"', tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")


def test_what_is_printed_into_a_full_file(program, tmp_path):
    done = shell([*program, "--help"], "> /dev/full", tmp_path)
    assert done.returncode in (1, 2)
    said = one_sentence(done.stderr.removesuffix("\n"))
    assert said.endswith("What it prints cannot be written (No space left on device).")


@pytest.mark.parametrize(
    "arguments, complaint",
    [
        (["--input_image", "photo.png"], "--input_image: the folder you are in is gone; change to another one."),
        (["--input_image", "/dev/null"], "there is no file /dev/null."),
        (["--input_image", "PICTURE"], "--output_dir: the folder you are in is gone"),
        (
            ["--input_image", "PICTURE", "--output_dir", "OUT", "--server", "http://127.0.0.1:1"],
            "No ComfyUI answers on",
        ),
        (
            ["--input_image", "PICTURE", "--output_dir", "OUT", "--save_prompt", "p.json"],
            "--save_prompt: the folder you",
        ),
        (
            ["--input_image", "PICTURE", "--output_dir", "OUT", "--checkpoint", "a"],
            "--checkpoint: the folder you are in",
        ),
    ],
)
def test_a_working_folder_that_is_gone(root, tmp_path, arguments, complaint):
    """Who gives whole paths needs none."""
    places = {"PICTURE": str(root / "demo" / "reference.png"), "OUT": str(tmp_path / "made")}
    told = [places.get(argument, argument) for argument in arguments]
    command = [sys.executable, str(root / "generate.py"), "--mode", "variation", *told]
    script = 'mkdir gone && cd gone && rmdir ../gone && "$@"'
    done = subprocess.run(["bash", "-c", script, "-", *command], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode in (1, 2) and complaint in one_sentence(done.stderr.removesuffix("\n"))
    assert not os.listdir(tmp_path)


def test_the_demo_in_a_folder_that_is_gone(root, tmp_path):
    command = [sys.executable, str(root / "dev.py"), "demo", "--count", "1"]
    script = 'mkdir gone && cd gone && rmdir ../gone && "$@"'
    done = subprocess.run(["bash", "-c", script, "-", *command], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert "--output: the folder you are in is gone" in one_sentence(done.stderr.removesuffix("\n"))
