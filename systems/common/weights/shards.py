"""A component folder's tensors: one safetensors file, or shards with an index."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from ..errors import CheckpointError, plain, quoted
from .checks import warn_of_nan
from .files import AGAIN, FLOATS, NAME, missing_file, opened, read_json, some


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
        with opened(info.file) as file:
            if rows is None:
                return file.get_tensor(info.stored_as).to(dtype, copy=True)
            view = file.get_slice(info.stored_as)
            return torch.cat([view[row : row + 1] for row in rows]).to(dtype)

    def warn_of_nan(self) -> None:
        """Log which tensors hold NaN or infinity, as far as a look shows that takes no time: all of a vector, the first
        row of what is larger."""
        for path in self.files():
            infos = [info for info in self.infos.values() if info.file == path and info.kind in FLOATS]
            with opened(path) as file:
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


def _nothing_found(folder: Path, stem: str) -> str:
    if not folder.is_dir():
        return missing_file(folder / stem)
    shards = sorted(path.name for path in folder.glob(f"{stem}-*.safetensors"))
    if shards:
        shown = plain(shards[0], NAME)
        return f"{folder} has shards ({shown}, ...) but no {stem}.safetensors.index.json; download that file too."
    return f"{folder} has neither {stem}.safetensors.index.json nor {stem}.safetensors; download its weights."


def _first(names: list[str]) -> str:
    """The first three of several file names."""
    return ", ".join([plain(name, NAME // 2) for name in names[:3]] + ["..."] * (len(names) > 3))


def _is_shard(name: object) -> bool:
    """Whether an index may name it: a file in the index's own folder."""
    return isinstance(name, str) and name.lower().endswith(".safetensors") and Path(name).name == name


def _read_header(path: Path) -> list[TensorInfo]:
    with opened(path) as file:
        slices = {name: file.get_slice(name) for name in file.keys()}
        return [TensorInfo(path, name, tuple(each.get_shape()), each.get_dtype()) for name, each in slices.items()]
