"""A ComfyUI that does not come up is named as the reason; one that is not ours is not taken for ours."""

from __future__ import annotations

import pytest

from qwen2vl_flux_pack.automation.server import ComfyServer, ServerFailed, default_comfyui


def test_a_port_in_use(server: ComfyServer, tmp_path) -> None:
    second = ComfyServer(server.comfyui, port=server.port, log=tmp_path / "log")
    with pytest.raises(ServerFailed, match=f"using port {server.port} already"):
        second.start()
    assert second.process is None and not second.log.exists()


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
