"""Checkpoints of a run: the published folder that the loaders read, with the state of the training beside it.

    step-<n>/flux, step-<n>/qwen2-vl   as published, in the base's shards and number formats; unchanged files are linked
    step-<n>/training                  run.json and state.safetensors, from which a run goes on; in the newest one only

A checkpoint is written under another name and renamed when it is whole.
"""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from systems.common.errors import CheckpointError, InputError
from systems.common.weights.files import read_json, read_pt, read_state
from systems.common.weights.shards import WeightFiles
from systems.qwen2vl_flux.checkpoint import open_encoder

from .output import Output, settled
from .qwen2vl_flux.networks import STEM

if TYPE_CHECKING:
    from .learner import Learner

COMPONENTS = ("flux", "qwen2-vl")
STATE = "training"
# What of a recipe may differ when a run goes on.
MAY_CHANGE = ("log_every", "save_every", "sample_every")
# The setting that stands for a whole data set.
DATA = "data"


def save(output: Output, step: int, learner: Learner, base: Path, record: dict) -> Path:
    """Write the checkpoint after `step` steps; returns its folder.

    base: the checkpoint folder that the run began from; record: settings with which alone a run may go on. Raises
    CheckpointError when the disk is full or refuses; earlier checkpoints are then as they were.
    """
    target = output.checkpoint(step)
    partial = target.with_name(f".{target.name}")
    clear(output)
    former = output.newest()
    try:
        export(learner.exported(), base, partial)
        place = partial / STATE
        place.mkdir()
        (place / "run.json").write_text(json.dumps({"step": step, **record}, indent=2) + "\n", encoding="utf-8")
        save_file({name: value.contiguous() for name, value in learner.state().items()}, place / "state.safetensors")
        for path in [*(path for path in partial.rglob("*") if path.is_file() and not _is_linked(path)), partial]:
            settled(path)
        partial.rename(target)
        settled(output.checkpoints)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        kept = "there is no earlier one" if former is None else f"{former[1].name} is whole"
        raise CheckpointError(
            f"The checkpoint of step {step} could not be written to {output.checkpoints} ({_reason(error)}), and "
            f"{kept}; make room there and go on with --resume."
        ) from None
    clear(output)
    return target


def clear(output: Output) -> None:
    """Take away what a killed run left unfinished, and the states of all checkpoints but the newest."""
    for path in output.partial():
        shutil.rmtree(path, ignore_errors=True)
    for _, path in output.whole()[:-1]:
        shutil.rmtree(path / STATE, ignore_errors=True)


def load(output: Output, learner: Learner, record: dict) -> int:
    """Put the newest checkpoint's state into a learner; returns its number of steps, 0 where there is none yet.

    Raises InputError when the run began with other settings, and CheckpointError for a state that is missing, damaged
    or of another run.
    """
    found = output.newest()
    if found is None:
        return 0
    step, folder = found
    place, otherwise = folder / STATE, f"or begin a new run from {folder} as its checkpoint"
    for name, now, then in _differences(record, _own(read_json, place / "run.json", otherwise)):
        if name == DATA:
            raise InputError(
                f"The run in {output.root} began with other data (its rows, their order, or the shape of a picture "
                f"has changed); put the former data back, {otherwise}."
            )
        raise InputError(
            f"The run in {output.root} began with {name} {then} and should go on with {now}; give the same, "
            f"{otherwise}."
        )
    path = place / "state.safetensors"
    try:
        learner.load(_own(read_state, path, otherwise))
    except (KeyError, RuntimeError):
        raise CheckpointError(
            f"{path} is not the state of this run; put the run's own file back, {otherwise}."
        ) from None
    return step


def _own(read: Callable[[Path], dict], path: Path, otherwise: str) -> dict:
    """What is in a file of the run's own, which cannot be downloaded again."""
    try:
        return read(path)
    except CheckpointError as error:
        reason = str(error).partition(";")[0]
        raise CheckpointError(f"{reason}; put the run's own file back, {otherwise}.") from None


def _differences(record: dict, stored: dict) -> list[tuple[str, object, object]]:
    """(name, now, then) of what differs and may not."""
    record = json.loads(json.dumps(record))
    now, then = ({**each, **each.get("recipe", {})} for each in (record, stored))
    names = [name for name in now if name not in ("recipe", *MAY_CHANGE)]
    return [(name, now[name], then.get(name)) for name in names if now[name] != then.get(name)]


def export(weights: Mapping[str, Tensor], base: Path, target: Path) -> None:
    """The published folder of `base` with other weights, by their names in Networks, at `target`, which must not exist.

    Files in which nothing changed are hard links to the base's where the disk allows it, and copies elsewhere.
    """
    place = base / "flux" / "transformer"
    shards = _changed(WeightFiles(place, STEM), within(weights, "flux."))
    shards.update(_changed(open_encoder(base / "qwen2-vl"), within(weights, "qwen.")))
    linears = {base / "qwen2-vl" / f"{name}.pt": within(weights, f"{name}.") for name in ("connector", "t5_embedder")}
    linears = {path: state for path, state in linears.items() if state}
    for component in COMPONENTS:
        for path in _files(base / component):
            copy = target / path.relative_to(base)
            copy.parent.mkdir(parents=True, exist_ok=True)
            if path in shards:
                _write_shard(path, shards[path], copy)
            elif path in linears:
                _write_linear(path, linears[path], copy)
            else:
                _link(path, copy)


def within(values: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The entries whose names begin with a prefix, without it."""
    return {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}


def _files(folder: Path) -> Iterator[Path]:
    """The files below a folder, in linked folders too, but none that is hidden or lies in a hidden folder."""
    for place, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(place, name) for name in names if not name.startswith("."))


def _changed(files: WeightFiles, values: Mapping[str, Tensor]) -> dict[Path, dict[str, Tensor]]:
    """Which files hold changed tensors, and these by the names they are stored under."""
    changed: dict[Path, dict[str, Tensor]] = {}
    for name, value in values.items():
        info = files.infos[name]
        changed.setdefault(info.file, {})[info.stored_as] = value
    return changed


def _write_shard(source: Path, changed: Mapping[str, Tensor], target: Path) -> None:
    with safe_open(source, framework="pt") as file:
        state, metadata = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()
    for name, value in changed.items():
        state[name] = value.detach().to("cpu", state[name].dtype).contiguous()
    save_file(state, target, metadata=metadata)


def _write_linear(source: Path, changed: Mapping[str, Tensor], target: Path) -> None:
    state = read_pt(source)
    for name, value in state.items():
        trained = changed.get(name.removeprefix("linear."), value)
        state[name] = trained.detach().to("cpu", value.dtype).clone()
    buffer = io.BytesIO()
    torch.save(state, buffer)
    target.write_bytes(buffer.getbuffer())


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)


def _is_linked(path: Path) -> bool:
    """Whether a file has other names too, and so was there before."""
    return path.stat().st_nlink > 1


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or " ".join(str(error).split())
