"""The ComfyUI to work with, its interpreter, and the pack in its custom_nodes. Standard library only."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from systems.common.layout import DEMO
from systems.qwen2vl_flux.layout import FOLDER_NAME, is_checkpoint

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
    folder = Path(os.path.realpath(os.path.expanduser(path)))
    if not os.path.isfile(folder / "main.py"):
        raise Problem(f"COMFYUI_PATH={path} is not a ComfyUI folder: it has no main.py")
    python = named_python() or _python_around(folder) or Path(sys.executable)
    return folder, python


def named_python() -> Path | None:
    """The interpreter that COMFYUI_PYTHON names, None when it names none. Raises Problem when it is not one."""
    if not os.environ.get("COMFYUI_PYTHON"):
        return None
    python = Path(os.path.abspath(os.path.expanduser(os.environ["COMFYUI_PYTHON"])))
    if not os.path.isfile(python):
        raise Problem(f"COMFYUI_PYTHON={python} does not exist")
    if not has_packages(python):
        raise Problem(f"COMFYUI_PYTHON={python} is not a Python that runs; set it to ComfyUI's interpreter")
    return python


def has_packages(python: Path, *packages: str) -> bool:
    """Whether an interpreter runs and has all of some packages."""
    code = "import sys, importlib.util as u; print('Python', all(map(u.find_spec, sys.argv[1:])))"
    command = [str(python), "-c", code, *packages]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    except (OSError, ValueError, subprocess.TimeoutExpired):  # not a program, or what it says is not text
        return False
    return done.stdout == "Python True\n"


def check_checkpoint(comfyui: Path, name: str, named: str | Path | None) -> None:
    """Raise Problem when a ComfyUI that is started here cannot know a checkpoint of that name. named: the folder in its
    CHECKPOINT_DIR, if any."""
    models = comfyui / "models" / FOLDER_NAME
    places = [models, *([Path(named)] if named else [])]
    found = any(is_checkpoint(place / name) or place.name == name and is_checkpoint(place) for place in places)
    other_places = os.path.isfile(comfyui / "extra_model_paths.yaml")  # only ComfyUI reads them
    if not (found or other_places or name == DEMO.name):
        searched = " or ".join(str(place) for place in places)
        raise Problem(
            f"There is no checkpoint {name!r} in {searched}; put its folder, which holds qwen2-vl and flux, there, or "
            "give its path"
        )


def _python_around(folder: Path) -> Path | None:
    """The interpreter of an environment in or beside a folder."""
    for parent in (folder, folder.parent):
        inside = [python_in(parent / "venv"), python_in(parent / ".venv"), parent / "python_embeded" / "python.exe"]
        for python in inside:
            if python.is_file():
                return python
    return None


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
