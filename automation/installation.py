"""The ComfyUI to work with, its interpreter, and the pack in its custom_nodes. Standard library only."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

PACK = "ComfyUI-Qwen2VL-Flux"


class Problem(Exception):
    """Something the person at the keyboard has to change; its text is one sentence."""


def run(command: Sequence[str | Path], failure: str) -> None:
    """Run a command; `failure` is the sentence when it does not exit with 0."""
    if subprocess.run([str(part) for part in command], stdin=subprocess.DEVNULL).returncode:
        raise Problem(failure)


def python_in(folder: Path) -> Path:
    """The interpreter of a virtual environment."""
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def existing_comfyui(path: str) -> tuple[Path, Path]:
    """The ComfyUI folder that COMFYUI_PATH names and its interpreter: COMFYUI_PYTHON, one in or beside the folder, or
    the running one. Raises Problem when one of them is not there."""
    folder = Path(path).expanduser().resolve()
    if not (folder / "main.py").is_file():
        raise Problem(f"COMFYUI_PATH={path} is not a ComfyUI folder: it has no main.py")
    if os.environ.get("COMFYUI_PYTHON"):
        python = Path(os.environ["COMFYUI_PYTHON"]).expanduser().absolute()
        if not python.is_file():
            raise Problem(f"COMFYUI_PYTHON={python} does not exist")
        return folder, python
    for parent in (folder, folder.parent):
        inside = [python_in(parent / "venv"), python_in(parent / ".venv"), parent / "python_embeded" / "python.exe"]
        for python in inside:
            if python.is_file():
                return folder, python
    return folder, Path(sys.executable)


def link_pack(custom_nodes: Path, pack: Path) -> None:
    """Link the pack into custom_nodes unless it already sits there."""
    custom_nodes.mkdir(exist_ok=True)
    if any(entry.resolve() == pack for entry in custom_nodes.iterdir()):
        return
    link = custom_nodes / PACK
    for entry in custom_nodes.iterdir():  # ComfyUI-Manager writes the name in small letters
        if entry.name.lower() == PACK.lower() and entry.exists():
            raise Problem(f"{entry} is another copy of the pack; move it out of custom_nodes first")
    if link.is_symlink():  # it points to a place that is gone
        link.unlink()
    if os.name == "nt":  # a junction needs no administrator, a symbolic link does
        run(["cmd", "/c", "mklink", "/J", link, pack], f"Windows could not link {link} to {pack}")
    else:
        link.symlink_to(pack, target_is_directory=True)
