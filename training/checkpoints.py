"""Checkpoints of a run: the published folder that the loaders read, with the state of the training beside it.

    step-<n>/...        what the system exports, in its published layout
    step-<n>/training   run.json and state.safetensors, from which a run goes on; in the newest checkpoint only

A checkpoint is written under another name and renamed when it is whole.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from systems.common.errors import CheckpointError, InputError
from systems.common.weights.files import read_json, read_state

from .learner import Learner
from .output import Output, settled

# A function that writes weights, by their names in the networks, as a published folder that does not exist yet.
Export = Callable[[Mapping[str, Tensor], Path], None]

STATE = "training"
# The entries of a recipe that may differ when a run goes on.
MAY_CHANGE = ("log_every", "save_every", "sample_every")
# The setting that stands for a whole data set.
DATA = "data"


def save(output: Output, step: int, learner: Learner, export: Export, record: dict) -> Path:
    """Write the checkpoint after `step` steps; returns its folder.

    record: settings with which alone a run may go on. Raises CheckpointError when the disk is full or refuses; earlier
    checkpoints are then as they were.
    """
    target = output.checkpoint(step)
    partial = target.with_name(f".{target.name}")
    clear(output)
    former = output.newest()
    try:
        export(learner.exported(), partial)
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
                f"The run in {output.root} began with other data (its rows, their order, or the shape of an image "
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


def _is_linked(path: Path) -> bool:
    """Whether a file has other names too, and so was there before."""
    return path.stat().st_nlink > 1


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or " ".join(str(error).split())
