"""Weight and configuration files: JSON, safetensors, and .pt without running what is pickled in it."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from ..errors import CheckpointError, plain, quoted
from .pickles import check_pt

AGAIN = "download it again"
NESTS = ("model", "state_dict")
# The kinds of numbers that weights are stored in, by the words of safetensors.
FLOATS = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
}
# The characters of a tensor's or a shard's name that a sentence shows.
NAME = 100


def read_json(path: Path) -> dict:
    """A JSON object from a file, or a CheckpointError that names it."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(missing_file(path)) from None
    except (OSError, ValueError, RecursionError):
        raise CheckpointError(f"{path} is not a JSON file; {AGAIN}.") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} holds no JSON object; {AGAIN}.")
    return value


def read_state(path: Path) -> dict[str, torch.Tensor]:
    """Tensors by name from one .safetensors, .pt or .pth file; weights nested under `model` or `state_dict` are taken
    out of there."""
    if path.suffix.lower() != ".safetensors":
        return read_pt(path)
    if not path.exists():
        raise CheckpointError(missing_file(path))
    with opened(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}


def read_pt(path: Path) -> dict[str, torch.Tensor]:
    """Tensors by name from a .pt or .pth file, without running any pickled code; the prefix `module.` is taken off,
    and weights nested under `model` or `state_dict` are taken out of there."""
    if not path.exists():
        raise CheckpointError(missing_file(path))
    _reject_other_formats(path)
    try:
        check_pt(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # torch's reader raises whatever a damaged or forbidden pickle leads it to
        raise CheckpointError(f"{path} is not a file of plain tensors, or it is cut short; {AGAIN}.") from None
    if isinstance(state, dict):
        state = next((state[name] for name in NESTS if isinstance(state.get(name), dict)), state)
    others = [name for name, value in state.items() if not is_weight(value)] if isinstance(state, dict) else None
    if others and len(others) < len(state):
        raise CheckpointError(
            f"{path} holds {quoted(others[0])} beside tensors of floating-point numbers; use the published file of "
            "plain weights."
        )
    if others is None or others:
        raise CheckpointError(f"{path} holds something else than named tensors of floating-point numbers; {AGAIN}.")
    return {str(name).removeprefix("module."): value for name, value in state.items()}


def is_weight(value: object) -> bool:
    return isinstance(value, torch.Tensor) and value.dtype in FLOATS.values()


def some(names: list[str]) -> str:
    """A list of tensor names that stays readable in a sentence."""
    shown = plain(names[0], NAME)
    return shown if len(names) == 1 else f"{shown} and {len(names) - 1} more tensors"


def missing_file(path: Path) -> str:
    if not path.parent.is_dir():
        return f"{path.parent} is missing; download that folder of the checkpoint."
    return f"{path} is missing; download it into that folder."


def opened(path: Path):
    for place in reversed((path, *path.parents)):
        if not _is_text(place):
            raise CheckpointError(f"{place} has a name that is not UTF-8 text, and safetensors needs one; rename it.")
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError):
        _reject_other_formats(path)
        with path.open("rb") as file:
            has_header = file.read(9)[8:] == b"{"
        reason = "is cut short or damaged" if has_header else "is not a safetensors file"
        raise CheckpointError(f"{path} {reason}; {AGAIN}.") from None


def _is_text(path: Path) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def _reject_other_formats(path: Path) -> None:
    """Name what is often found in place of a weight file."""
    try:
        with path.open("rb") as file:
            start = file.read(256).lstrip().lower()
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be read ({error.strerror}); check the file and its permissions."
        ) from None
    if not start:
        raise CheckpointError(f"{path} is empty; {AGAIN}.")
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        raise CheckpointError(
            f"{path} is a web page, not weights; the download needs a login or another link, {AGAIN}."
        )
    if start.startswith(b"version https://git-lfs"):
        raise CheckpointError(f"{path} is a Git LFS pointer, not weights; fetch the real file with git lfs pull.")
