"""A ComfyUI that does not come up is named as the reason; one that is not ours is not taken for ours."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest
from sentences import one_sentence

from client.server import HOST, ComfyServer, ServerFailed, default_comfyui


def test_a_port_in_use(server: ComfyServer, tmp_path) -> None:
    second = ComfyServer(server.comfyui, port=server.port, log=tmp_path / "log")
    with pytest.raises(ServerFailed, match=f"using port {server.port} already"):
        second.start()
    assert second.process is None and not second.log.exists()


def test_a_port_that_is_held_and_answers_nobody(tmp_path) -> None:
    """ComfyUI would start for half a minute, and end with a traceback."""
    with socket.socket() as held:
        held.bind((HOST, 0))
        second = ComfyServer(default_comfyui(), port=held.getsockname()[1], log=tmp_path / "log")
        with pytest.raises(ServerFailed, match="cannot be used|is using port"):
            second.start()
    assert second.process is None


def test_serve_on_a_port_in_use(server: ComfyServer, root) -> None:
    command = [sys.executable, "-m", "client.serve", f"--port={server.port}"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and not done.stdout
    said = one_sentence(done.stderr.removesuffix("\n"))
    assert said == f"serve: Another program is using port {server.port} already; stop it or choose another port."


def test_a_start_that_fails_shows_the_log(tmp_path) -> None:
    failing = ComfyServer(default_comfyui(), extra_args=["--no-such-option"], log=tmp_path / "new" / "log")
    with pytest.raises(ServerFailed, match=r"(?s)exit status 2.*unrecognized arguments: --no-such-option"):
        failing.start()
    failing.stop()


def test_relative_folders(tmp_path, monkeypatch) -> None:
    """Of the calling process, not of ComfyUI's own working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "comfyui").mkdir()
    (tmp_path / "comfyui" / "main.py").write_text("import os, sys; sys.exit(str([os.getcwd(), *sys.argv]))")
    with pytest.raises(ServerFailed) as raised:
        ComfyServer("comfyui", output_dir=tmp_path.relative_to(tmp_path) / "made", log=tmp_path / "log").start()
    for place in ("comfyui", "comfyui/main.py", "made"):
        assert f"'{tmp_path / place}'" in str(raised.value)
