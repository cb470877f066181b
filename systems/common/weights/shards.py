"""Weight files: one safetensors file or shards with an index, and small .pt files; nothing else opens weights."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from ..errors import CheckpointError, plain, quoted
from .pickles import check_pt

AGAIN = "download it again"
NESTS = ("model", "state_dict")
# Kinds of numbers that weights are stored in, by the words of safetensors.
FLOATS = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
}
# Characters of a tensor's or a shard's name that a sentence shows.
NAME = 100


@dataclass(frozen=True)
class TensorInfo:
    """Where a tensor lies, under which name, its shape, and the kind of its numbers in the words of safetensors."""

    file: Path
    stored_as: str
    shape: tuple[int, ...]
    kind: str


class WeightFiles:
    """The tensors of one component folder, known from the file headers before any weight is read.

    `infos` maps every tensor's name, after `rename`, to its TensorInfo. Opening raises CheckpointError, naming the file
    and the remedy, for a missing folder, an incomplete or contradictory shard set, and what is not safetensors.
    """

    def __init__(self, folder: Path, stem: str, rename: Callable[[str], str] = str):
        self.folder = folder
        index = folder / f"{stem}.safetensors.index.json"
        if index.exists():
            stored = self._read_shards(index)
        else:
            single = folder / f"{stem}.safetensors"
            if not single.exists():
                raise CheckpointError(_nothing_found(folder, stem))
            stored = _read_header(single)
        self.infos = {rename(info.stored_as): info for info in stored}

    def _read_shards(self, index: Path) -> list[TensorInfo]:
        weight_map = read_json(index).get("weight_map")
        if not isinstance(weight_map, dict) or not weight_map:
            raise CheckpointError(f"{index} has no weight_map; it is not a shard index, {AGAIN}.")
        for name in weight_map.values():
            if not _is_shard(name):
                raise CheckpointError(f"{index} names {quoted(name)}, not a .safetensors file beside it; {AGAIN}.")
        names = sorted(set(weight_map.values()))
        missing = [name for name in names if not os.path.exists(self.folder / name)]
        if missing:
            raise CheckpointError(
                f"{self.folder} lacks {len(missing)} of {len(names)} shards ({_first(missing)}); "
                "download the missing files into that folder."
            )
        stored = [info for name in names for info in _read_header(self.folder / name)]
        held = {(info.stored_as, info.file.name) for info in stored}
        for tensor, name in weight_map.items():
            if (tensor, name) not in held:
                raise CheckpointError(
                    f"{self.folder / name} does not hold {plain(tensor, NAME)}, which {index.name} promises; the files "
                    "are of different downloads, download the folder again."
                )
        return stored

    def files(self) -> list[Path]:
        """All weight files of the component."""
        return sorted({info.file for info in self.infos.values()})

    def only(self) -> Path:
        """The one weight file of a component that is never sharded."""
        files = self.files()
        if len(files) != 1:
            raise CheckpointError(f"{self.folder} holds weights in {len(files)} files, not in one; {AGAIN}.")
        return files[0]

    def read(self, name: str, dtype: torch.dtype, rows: list[int] | None = None) -> torch.Tensor:
        """One tensor (or the named rows of it) as `dtype`, in memory of its own.

        The file is closed again after each tensor, so that loading never holds more than the weights it keeps.
        """
        info = self.infos[name]
        with _opened(info.file) as file:
            if rows is None:
                return file.get_tensor(info.stored_as).to(dtype, copy=True)
            view = file.get_slice(info.stored_as)
            return torch.cat([view[row : row + 1] for row in rows]).to(dtype)

    def warn_of_nan(self) -> None:
        """Log which tensors hold NaN or infinity, as far as a look shows that takes no time: all of a vector, the first
        row of what is larger."""
        for path in self.files():
            infos = [info for info in self.infos.values() if info.file == path and info.kind in FLOATS]
            with _opened(path) as file:
                looked_at = (
                    (name, file.get_slice(name)[:1] if len(shape) > 1 else file.get_tensor(name))
                    for name, shape in ((info.stored_as, info.shape) for info in infos)
                )
                warn_of_nan(path, looked_at)


def check_layout(
    files: WeightFiles,
    expected: Mapping[str, tuple[int, ...]],
    source: str,
    ignored: Iterable[str] = (),
) -> None:
    """Raise CheckpointError unless the files hold exactly the expected tensors; `source` says who expects them.

    `ignored` are name prefixes of tensors that may be there and are not used. Warns of NaN as WeightFiles does.
    """
    prefixes = tuple(ignored)
    missing = [name for name in expected if name not in files.infos]
    if missing:
        raise CheckpointError(
            f"{files.folder} lacks {some(missing)}, which {source} calls for; download the folder again."
        )
    unexpected = [name for name in files.infos if name not in expected and not name.startswith(prefixes)]
    if unexpected:
        info = files.infos[unexpected[0]]
        raise CheckpointError(
            f"{info.file} holds {some(unexpected)}, which {source} does not know; it belongs to another model, "
            "use the checkpoint's own files."
        )
    for name, shape in expected.items():
        info = files.infos[name]
        if info.shape != tuple(shape):
            raise CheckpointError(
                f"{info.file} holds {name} as {quoted(list(info.shape))} where {source} calls for {list(shape)}; "
                "config.json and weights are of different models, download the folder again."
            )
        if info.kind not in FLOATS:
            raise CheckpointError(
                f"{info.file} holds {name} as {info.kind}, not as floating-point numbers; download the folder again."
            )
    files.warn_of_nan()


def check_state(
    file: Path,
    state: Mapping[str, torch.Tensor],
    expected: Mapping[str, tuple[int, ...]],
    model: str,
    ignored: Iterable[str] = (),
) -> None:
    """Raise CheckpointError unless the state read from a file is exactly the expected tensors of `model`.

    `ignored` are name prefixes of tensors that may be there and are not used.
    """
    missing = [name for name in expected if name not in state]
    if missing:
        raise CheckpointError(f"{file} lacks {some(missing)}, which {model} calls for; {AGAIN}.")
    prefixes = tuple(ignored)
    unknown = [name for name in state if name not in expected and not name.startswith(prefixes)]
    if unknown:
        raise CheckpointError(
            f"{file} holds {some(unknown)}, which {model} does not know; it belongs to another model, choose another "
            "file."
        )
    for name, shape in expected.items():
        if tuple(state[name].shape) != tuple(shape):
            raise CheckpointError(
                f"{file} holds {name} as {quoted(list(state[name].shape))} where {model} calls for {list(shape)}; "
                f"{AGAIN}."
            )
        if not _is_weight(state[name]):
            raise CheckpointError(
                f"{file} holds {name} as {str(state[name].dtype).removeprefix('torch.')}, not as floating-point "
                f"numbers; {AGAIN}."
            )
    warn_of_nan(file, ((name, state[name]) for name in expected))


def warn_of_nan(file: Path, tensors: Iterable[tuple[str, torch.Tensor]]) -> None:
    """Log which of a file's tensors, if any, hold NaN or infinity."""
    broken = [name for name, values in tensors if not _total(values).isfinite()]
    if broken:
        logging.warning(
            "%s", plain(f"{file} holds NaN or infinity in {some(broken)}; pictures come out black or wrong, {AGAIN}.")
        )


def _total(values: torch.Tensor) -> torch.Tensor:
    """The sum, which NaN and infinity do not leave finite, at the speed of the memory."""
    return (values.float() if values.dtype.itemsize < 4 else values).sum()


def read_json(path: Path) -> dict:
    """A JSON object from a file, or a CheckpointError that names it."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(_missing(path)) from None
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
        raise CheckpointError(_missing(path))
    with _opened(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}


def read_pt(path: Path) -> dict[str, torch.Tensor]:
    """Tensors by name from a .pt or .pth file, without running any pickled code; the prefix `module.` is taken off,
    and weights nested under `model` or `state_dict` are taken out of there."""
    if not path.exists():
        raise CheckpointError(_missing(path))
    _reject_other_formats(path)
    try:
        check_pt(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # torch's reader raises whatever a damaged or forbidden pickle leads it to
        raise CheckpointError(f"{path} is not a file of plain tensors, or it is cut short; {AGAIN}.") from None
    if isinstance(state, dict):
        state = next((state[name] for name in NESTS if isinstance(state.get(name), dict)), state)
    others = [name for name, value in state.items() if not _is_weight(value)] if isinstance(state, dict) else None
    if others and len(others) < len(state):
        raise CheckpointError(
            f"{path} holds {quoted(others[0])} beside tensors of floating-point numbers; use the published file of "
            "plain weights."
        )
    if others is None or others:
        raise CheckpointError(f"{path} holds something else than named tensors of floating-point numbers; {AGAIN}.")
    return {str(name).removeprefix("module."): value for name, value in state.items()}


def _is_weight(value: object) -> bool:
    return isinstance(value, torch.Tensor) and value.dtype in FLOATS.values()


def _missing(path: Path) -> str:
    if not path.parent.is_dir():
        return f"{path.parent} is missing; download that folder of the checkpoint."
    return f"{path} is missing; download it into that folder."


def _nothing_found(folder: Path, stem: str) -> str:
    if not folder.is_dir():
        return _missing(folder / stem)
    shards = sorted(path.name for path in folder.glob(f"{stem}-*.safetensors"))
    if shards:
        shown = plain(shards[0], NAME)
        return f"{folder} has shards ({shown}, ...) but no {stem}.safetensors.index.json; download that file too."
    return f"{folder} has neither {stem}.safetensors.index.json nor {stem}.safetensors; download its weights."


def some(names: list[str]) -> str:
    """A list of tensor names that stays readable in a sentence."""
    shown = plain(names[0], NAME)
    return shown if len(names) == 1 else f"{shown} and {len(names) - 1} more tensors"


def _first(names: list[str]) -> str:
    """The first three of several file names."""
    return ", ".join([plain(name, NAME // 2) for name in names[:3]] + ["..."] * (len(names) > 3))


def _is_shard(name: object) -> bool:
    """Whether an index may name it: a file in the index's own folder."""
    return isinstance(name, str) and name.lower().endswith(".safetensors") and Path(name).name == name


def _read_header(path: Path) -> list[TensorInfo]:
    with _opened(path) as file:
        slices = {name: file.get_slice(name) for name in file.keys()}
        return [TensorInfo(path, name, tuple(each.get_shape()), each.get_dtype()) for name, each in slices.items()]


def _opened(path: Path):
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
