"""A published folder with other weights: files in which something changed are written anew, all others are linked."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from systems.common.weights.shards import WeightFiles

# A function that writes a file with other weights to a path.
Writer = Callable[[Path], None]


def copy_folder(base: Path, target: Path, components: Sequence[str], writers: Mapping[Path, Writer]) -> None:
    """The files of some folders of `base` at `target`, which must not exist: those with a writer by it, the others as
    hard links where the disk allows it, and as copies elsewhere."""
    for component in components:
        for path in _files(base / component):
            copy = target / path.relative_to(base)
            copy.parent.mkdir(parents=True, exist_ok=True)
            writers.get(path, _linker(path))(copy)


def shard_writers(files: WeightFiles, values: Mapping[str, Tensor]) -> dict[Path, Writer]:
    """Writers of the shards that hold some of `files`' tensors, with other values and the stored number formats."""
    changed: dict[Path, dict[str, Tensor]] = {}
    for name, value in values.items():
        info = files.infos[name]
        changed.setdefault(info.file, {})[info.stored_as] = value
    return {path: _shard_writer(path, tensors) for path, tensors in changed.items()}


def _files(folder: Path) -> Iterator[Path]:
    """The files below a folder, in linked folders too, but none that is hidden or lies in a hidden folder."""
    for place, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(place, name) for name in names if not name.startswith("."))


def _shard_writer(source: Path, changed: Mapping[str, Tensor]) -> Writer:
    def write(target: Path) -> None:
        with safe_open(source, framework="pt") as file:
            state, metadata = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()
        for name, value in changed.items():
            state[name] = value.detach().to("cpu", state[name].dtype).contiguous()
        save_file(state, target, metadata=metadata)

    return write


def _linker(source: Path) -> Writer:
    def link(target: Path) -> None:
        try:
            os.link(source.resolve(), target)
        except OSError:
            shutil.copyfile(source, target)

    return link
