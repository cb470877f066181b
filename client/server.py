"""A ComfyUI process of our own: started on a loopback port, ready when the context is entered, gone when it is left."""

from __future__ import annotations

import errno
import functools
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

HOST = "127.0.0.1"
CHILD = Path(__file__).resolve().parent / "comfyui_child.py"
# The seconds within which ComfyUI has to answer.
START_TIMEOUT = 300.0
_HAS_ACCELERATOR = (
    "import sys, torch; xpu = getattr(torch, 'xpu', None);"
    "sys.exit(not (torch.cuda.is_available() or torch.backends.mps.is_available() or (xpu and xpu.is_available())))"
)


class ServerFailed(Exception):
    """ComfyUI did not come up; the text carries the end of its log."""


def default_comfyui() -> Path:
    """COMFYUI_PATH, else the ComfyUI that dev.py sets up."""
    own = Path(__file__).resolve().parent.parent / ".dev" / "ComfyUI"
    return Path(os.path.expanduser(os.environ.get("COMFYUI_PATH") or own))


class ComfyServer:
    """`with ComfyServer(folder) as server: ... server.url ...`

    Directories that are not given are ComfyUI's own. `env` is added to this process's environment. `log` receives
    everything the server prints; without it the server prints to our own output. Entering raises ServerFailed. The
    server ends with this process, however that ends; `leftovers` are the folders and files that it removes when this
    process could not. It ends by itself when its prompt worker dies.
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
        leftovers: Sequence[Path] = (),
    ):
        self.comfyui = Path(comfyui).absolute()
        self.python = str(python)
        self.port = port or _free_port()
        self.url = f"http://{HOST}:{self.port}"
        self.log = log
        self.process: subprocess.Popen | None = None
        # waiting threads that spin make a busy machine with few cores many times slower, and a message that the output
        # cannot encode would end ComfyUI's prompt worker
        steady = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ, "PYTHONIOENCODING": "utf-8:backslashreplace"}
        self._env = {**steady, **(env or {})}
        self._leftovers = json.dumps([str(path.absolute()) for path in leftovers])
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
        _check_port(self.port)
        command = [self.python, str(CHILD), self._leftovers, str(self.comfyui / "main.py"), *self._arguments]
        if not has_accelerator(self.python):
            command.append("--cpu")
        if self.log:
            self.log.parent.mkdir(parents=True, exist_ok=True)
        output = open(self.log, "wb") if self.log else None
        try:
            self.process = subprocess.Popen(
                command, cwd=self.comfyui, env=self._env, stdin=subprocess.PIPE, stdout=output, stderr=output
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
        if self.process is None:
            return
        with self.process:  # closes our end of its standard input
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()

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
            except (OSError, http.client.HTTPException):
                time.sleep(0.1)
        late = f"ComfyUI did not answer on {self.url} within {START_TIMEOUT:.0f} s"
        raise ServerFailed(f"{late}\n{self.log_tail()}".rstrip())


def leave_on_terminate() -> None:
    """Make SIGTERM, and SIGHUP of a terminal that is closed, leave through the context managers, so that no server and
    no folder stays behind."""
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number and signal.getsignal(number) != signal.SIG_IGN:  # nohup ignores it
            signal.signal(number, lambda number, _: sys.exit(128 + number))


@functools.cache
def has_accelerator(python: str) -> bool:
    """Whether that interpreter's torch sees a device other than the CPU; ComfyUI needs --cpu when it does not."""
    return subprocess.run([python, "-c", _HAS_ACCELERATOR], stderr=subprocess.DEVNULL).returncode == 0


def _check_port(port: int) -> None:
    """Raise ServerFailed when ComfyUI could not listen there, which it tells in a traceback, after half a minute."""
    with socket.socket() as probe:
        if os.name == "posix":  # a port that was used a moment ago is free; elsewhere this would take one in use
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                problem = f"Another program is using port {port} already; stop it or choose another port"
            else:
                problem = f"Port {port} cannot be used ({error.strerror}); choose another one, such as 8188"
            raise ServerFailed(problem) from None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]
