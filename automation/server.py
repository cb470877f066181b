"""A ComfyUI process of our own: started on a loopback port, ready when the context is entered, gone when it is left."""

from __future__ import annotations

import functools
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

HOST = "127.0.0.1"
START_TIMEOUT = 300.0
_HAS_ACCELERATOR = (
    "import sys, torch; xpu = getattr(torch, 'xpu', None);"
    "sys.exit(not (torch.cuda.is_available() or torch.backends.mps.is_available() or (xpu and xpu.is_available())))"
)


class ServerFailed(Exception):
    """ComfyUI did not come up; the text carries the end of its log."""


def default_comfyui() -> Path:
    """COMFYUI_PATH, else the ComfyUI that dev.py sets up."""
    return Path(os.environ.get("COMFYUI_PATH") or Path(__file__).resolve().parent.parent / ".dev" / "ComfyUI")


class ComfyServer:
    """`with ComfyServer(folder) as server: ... server.url ...`

    Directories that are not given are ComfyUI's own. `env` is added to this process's environment. `log` receives
    everything the server prints; without it the server prints to our own output. Entering raises ServerFailed.
    """

    def __init__(
        self,
        comfyui: Path,
        python: str | Path = sys.executable,
        *,
        port: int | None = None,
        output_dir: Path | None = None,
        input_dir: Path | None = None,
        temp_dir: Path | None = None,
        user_dir: Path | None = None,
        extra_args: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        log: Path | None = None,
    ):
        self.comfyui = Path(comfyui).absolute()
        self.python = str(python)
        self.port = port or _free_port()
        self.url = f"http://{HOST}:{self.port}"
        self.log = log
        self.process: subprocess.Popen | None = None
        # waiting threads that spin make a busy machine with few cores many times slower
        self._env = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ, **(env or {})}
        self._arguments = ["--listen", HOST, "--port", str(self.port), *extra_args]
        directories = {"output": output_dir, "input": input_dir, "temp": temp_dir, "user": user_dir}
        for kind, folder in directories.items():
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)
                self._arguments += [f"--{kind}-directory", str(folder.absolute())]
        if user_dir is not None:  # ComfyUI's own database is locked while another ComfyUI runs
            self._arguments += ["--database-url", f"sqlite:///{(user_dir / 'comfyui.db').absolute().as_posix()}"]

    def __enter__(self) -> ComfyServer:
        self.start()
        return self

    def __exit__(self, *_) -> None:
        self.stop()

    def start(self) -> None:
        """Start ComfyUI and wait until it answers."""
        if _answers(self.port):  # it would be taken for ours
            raise ServerFailed(f"Another program is using port {self.port} already; stop it or choose another port")
        command = [self.python, str(self.comfyui / "main.py"), *self._arguments]
        if not has_accelerator(self.python):
            command.append("--cpu")
        if self.log:
            self.log.parent.mkdir(parents=True, exist_ok=True)
        output = open(self.log, "wb") if self.log else None
        try:
            self.process = subprocess.Popen(
                command, cwd=self.comfyui, env=self._env, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        finally:
            if output:
                output.close()
        try:
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End the process; harmless when it has ended already."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def log_tail(self, lines: int = 20) -> str:
        """The last lines of the log, empty when the server prints to our own output."""
        if self.log is None or not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def _wait_until_ready(self) -> None:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                status = self.process.returncode
                raise ServerFailed(f"ComfyUI ended at its start (exit status {status})\n{self.log_tail()}".rstrip())
            try:
                with opener.open(f"{self.url}/system_stats", timeout=5):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        late = f"ComfyUI did not answer on {self.url} within {START_TIMEOUT:.0f} s"
        raise ServerFailed(f"{late}\n{self.log_tail()}".rstrip())


def leave_on_terminate() -> None:
    """Make SIGTERM leave through the context managers, so that no server stays behind."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


@functools.cache
def has_accelerator(python: str) -> bool:
    """Whether that interpreter's torch sees a device other than the CPU; ComfyUI needs --cpu when it does not."""
    return subprocess.run([python, "-c", _HAS_ACCELERATOR], stderr=subprocess.DEVNULL).returncode == 0


def _answers(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]
