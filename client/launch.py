"""The ComfyUI that generate.py works with, the interpreter to do so in, and a server of our own where none runs.

Starts with the standard library only, in any interpreter; what needs more is imported once the right one runs.
"""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

from .arguments import DEFAULT_SERVER
from .installation import Problem, check_checkpoint, existing_comfyui, has_packages, link_pack, named_python
from .options import Options

ROOT = Path(__file__).resolve().parent.parent
# The variable that names the interpreter to which generate.py has handed over.
HANDED_OVER = "QWEN2VL_FLUX_HANDED_OVER"


def running_server() -> str:
    """The usual address when a ComfyUI answers there, else nothing."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{DEFAULT_SERVER}/system_stats", timeout=5) as answer:
            return DEFAULT_SERVER if "comfyui_version" in json.load(answer)["system"] else ""
    except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError, RecursionError):
        return ""


def comfyui() -> tuple[Path, Path] | None:
    """The ComfyUI we could start and its interpreter: COMFYUI_PATH, the one around this pack, or dev.py's."""
    if os.environ.get("COMFYUI_PATH"):
        return existing_comfyui(os.environ["COMFYUI_PATH"])
    around = [pack.parent.parent for pack in (called_folder(), ROOT) if pack.parent.name == "custom_nodes"]
    for folder in (*around, ROOT / ".dev" / "ComfyUI"):
        if (folder / "main.py").is_file():
            return existing_comfyui(str(folder))
    return None


def called_folder() -> Path:
    """The folder of generate.py as it was called, with the links in its path: custom_nodes may hold a link to the
    pack. A shell alone knows the path by which it came into the folder it is in."""
    shell = os.environ.get("PWD", "")
    here = shell if os.path.isdir(shell) and os.path.samefile(shell, os.curdir) else os.getcwd()
    return Path(os.path.normpath(os.path.join(here, sys.argv[0]))).parent


def hand_over(packages: Sequence[str], starts: bool) -> None:
    """Go on in ComfyUI's interpreter when this one lacks one of the packages, or is not the one to start ComfyUI with.
    Raises Problem when there is none."""
    able = all(importlib.util.find_spec(package) for package in packages)
    handed = os.environ.pop(HANDED_OVER, "")
    if able and not starts:
        return
    found = comfyui()
    if found is None and starts:
        raise Problem(
            f"No ComfyUI answers on {DEFAULT_SERVER} and there is none to start; start yours, give --server, set "
            "COMFYUI_PATH to its folder, or, in a clone of the pack's repository, run python3 dev.py demo once"
        )
    python = found[1] if found else named_python() or Path(sys.executable)
    here = str(python) in (handed, sys.executable)
    if not (able if here else has_packages(python, *packages)):
        raise Problem(
            f"{python} lacks {' or '.join(packages)}, which ComfyUI's interpreter has; set "
            "COMFYUI_PATH to ComfyUI's folder, or COMFYUI_PYTHON to its interpreter"
        )
    if here:
        return
    os.environ[HANDED_OVER] = str(python)
    command = [str(python), *sys.argv]
    sys.stdout.flush()
    if os.name == "posix":
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # until generate.py takes it again
        os.execv(command[0], command)
    sys.exit(subprocess.run(command).returncode)


@contextlib.contextmanager
def own_server(options: Options) -> Iterator[str]:
    """The address of a ComfyUI that runs until the context is left. Its log stays behind when something fails."""
    from .comfy_client import NodeFailed, ServerUnreachable, WorkerDied
    from .server import ComfyServer, ServerFailed, has_accelerator

    folder, python = comfyui()
    if options.request.checkpoint:
        place = options.checkpoint_folder or os.environ.get("CHECKPOINT_DIR")
        check_checkpoint(folder, options.request.checkpoint, place)
    has_accelerator(str(python))  # takes seconds: before there is anything to clean up
    link_pack(folder / "custom_nodes", ROOT)
    environment = {"CHECKPOINT_DIR": str(options.checkpoint_folder)} if options.checkpoint_folder else {}
    extra = ["--disable-api-nodes", *(["--cpu"] if options.device == "cpu" else [])]  # without them it starts sooner
    handle, name = tempfile.mkstemp(prefix="comfyui-", suffix=".log")
    os.close(handle)
    log = Path(name)
    print("Starting ComfyUI ...", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        folders = {f"{kind}_dir": Path(scratch, kind) for kind in ("output", "input", "temp", "user")}
        try:
            own = {"env": environment, "log": log, "leftovers": (Path(scratch), log), **folders}
            with ComfyServer(folder, python, extra_args=extra, **own) as server:
                print(f"  answers on {server.url}", flush=True)
                yield server.url
        except ServerFailed as error:
            raise Problem(f"{str(error).splitlines()[0]}; its log is {log}") from None
        except Problem as problem:
            if not isinstance(problem.__cause__, (NodeFailed, ServerUnreachable, WorkerDied)):  # its log says no more
                log.unlink()
                raise
            raise Problem(f"{str(problem).rstrip('.')}; ComfyUI's log is {log}") from None
        except BaseException:
            log.unlink()
            raise
    log.unlink()
