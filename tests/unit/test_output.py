"""Where generate.py writes: what is found out before, what is left behind."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from sentences import one_sentence

from client.installation import Problem
from client.output import check_folder, write_file, write_picture


def test_a_folder_is_made_for_the_first_picture_only(tmp_path):
    folder = tmp_path / "made" / "here"
    check_folder(folder)
    assert not os.listdir(tmp_path)
    first, second = (write_picture(folder, "variation_1", data) for data in (b"one", b"two"))
    assert (first.name, second.name) == ("variation_1.png", "variation_1_2.png")
    assert (first.read_bytes(), second.read_bytes()) == (b"one", b"two")
    check_folder(folder)
    assert sorted(folder.iterdir()) == [first, second]


@pytest.mark.parametrize("kind", ["long", "in a file", "sealed", "in a sealed one"])
def test_a_folder_that_cannot_be(tmp_path, kind):
    (tmp_path / "file").touch()
    folder, complaint = {
        "long": (tmp_path / "new" / ("9" * 300), "cannot be made (File name too long)"),
        "in a file": (tmp_path / "file" / "made", "cannot be made (Not a directory)"),
        "sealed": (Path("/proc/self/fdinfo"), "nothing can be written into the folder"),
        "in a sealed one": (Path("/proc/self/fdinfo/made"), "cannot be made ("),
    }[kind]
    with pytest.raises(Problem) as raised:
        check_folder(folder)
    assert complaint in str(raised.value) and "\n" not in str(raised.value)
    assert os.listdir(tmp_path) == ["file"]


def test_ctrl_c_while_a_picture_is_written(tmp_path):
    """The signal comes as soon as there is something in the file, which takes longer to write than that."""
    path, raised = tmp_path / "variation_1.png", []

    def interrupt(*_) -> None:
        if not raised and path.exists() and path.stat().st_size:
            raised.append(True)
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    try:
        with pytest.raises(KeyboardInterrupt):
            write_picture(tmp_path, "variation_1", bytes(1 << 26))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert raised and not os.listdir(tmp_path)


def test_a_disk_that_is_full(tmp_path):
    """A limit of the process, which the system keeps as it keeps the end of a disk, and a device that is always full:
    the system names neither."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(Problem) as raised:
            write_picture(tmp_path, "variation_1", bytes(1 << 16))
        assert str(raised.value) == f"{tmp_path / 'variation_1.png'} cannot be written (File too large)"
        with pytest.raises(Problem, match="prompt.json cannot be written"):
            write_file(tmp_path / "prompt.json", bytes(1 << 16))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "variation_1.png" not in os.listdir(tmp_path)
    with pytest.raises(Problem, match=r"^/dev/full cannot be written \(No space left on device\)$"):
        write_file(Path("/dev/full"), b"prompt")


def test_a_folder_that_has_become_something_else(tmp_path):
    """After it was checked, and before the first picture is there."""
    (tmp_path / "made").touch()
    with pytest.raises(Problem, match=r"made cannot be written \(File exists\)"):
        write_picture(tmp_path / "made", "variation_1", b"")
    with pytest.raises(Problem, match=r"deeper cannot be written \(Not a directory\)"):
        write_picture(tmp_path / "made" / "deeper", "variation_1", b"")


def test_the_program_makes_no_folder_before_it_works(root, tmp_path):
    """A folder that cannot be made is said before a server that is not there."""
    (tmp_path / "photo.png").touch()
    command = [sys.executable, str(root / "generate.py"), "--mode", "variation", "--input_image", "photo.png"]
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        command += ["--server", f"http://127.0.0.1:{reserved.getsockname()[1]}"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1 and "No ComfyUI answers" in one_sentence(done.stderr.removesuffix("\n"))
    assert os.listdir(tmp_path) == ["photo.png"]
    done = subprocess.run([*command, "--output_dir", "photo.png/made"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2 and "cannot be made" in one_sentence(done.stderr.removesuffix("\n"))
