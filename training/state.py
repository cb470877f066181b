"""What a run goes on from: weights, their average and the optimisers' moments, all as named tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ..errors import CheckpointError, InputError
from . import checkpoints
from .checkpoints import within
from .ema import Ema
from .output import Output

MAY_CHANGE = ("log_every", "save_every", "sample_every")
"""What of a recipe may differ when a run goes on."""


def gather(trained: Mapping[str, nn.Parameter], optimizers: Sequence[Optimizer], ema: Ema | None) -> dict[str, Tensor]:
    """Everything that a run goes on from, by name."""
    state = {f"weights.{name}": value.detach() for name, value in trained.items()}
    state.update({f"average.{name}": value for name, value in (ema.averages if ema else {}).items()})
    for number, optimizer in enumerate(optimizers):
        for index, entries in optimizer.state_dict()["state"].items():
            state.update({f"optimizer.{number}.{index}.{name}": value for name, value in entries.items()})
    return state


def restore(
    output: Output,
    record: dict,
    trained: Mapping[str, nn.Parameter],
    optimizers: Sequence[Optimizer],
    ema: Ema | None,
) -> int:
    """Put the newest checkpoint's state in place; returns its number of steps, 0 where there is none yet."""
    found = output.newest()
    if found is None:
        return 0
    step, folder = found
    state, stored = checkpoints.read(folder)
    _check_record(folder, stored, record)
    with torch.no_grad():
        _copy(folder, state, "weights.", trained)
        if ema:
            _copy(folder, state, "average.", ema.averages)
    for number, optimizer in enumerate(optimizers):
        entries: dict[int, dict[str, Tensor]] = {}
        for name, value in within(state, f"optimizer.{number}.").items():
            index, _, entry = name.partition(".")
            entries.setdefault(int(index), {})[entry] = value
        optimizer.load_state_dict({"state": entries, "param_groups": optimizer.state_dict()["param_groups"]})
    return step


def _copy(folder: Path, state: Mapping[str, Tensor], prefix: str, targets: Mapping[str, Tensor]) -> None:
    stored = within(state, prefix)
    for name, target in targets.items():
        if name not in stored or stored[name].shape != target.shape:
            raise CheckpointError(
                f"{folder / checkpoints.STATE} does not hold {prefix}{name} as {list(target.shape)}; it is of another "
                "run, take the folder of the run that should go on."
            )
        target.copy_(stored[name])


def _check_record(folder: Path, stored: dict, record: dict) -> None:
    """Raise InputError where a run would go on with other numbers than it began with."""
    for name, now, then in _differences(record, stored):
        raise InputError(
            f"The run in {folder.parent.parent} began with {name} {then} and should go on with {now}; give the same, "
            f"or begin a new run from {folder} as its checkpoint."
        )


def _differences(record: dict, stored: dict) -> list[tuple[str, object, object]]:
    """(name, now, then) of what differs and may not."""
    then = {**stored, **stored.get("recipe", {})}
    now = {**record, **record["recipe"]}
    names = [name for name in now if name not in ("recipe", *MAY_CHANGE)]
    return [(name, now[name], then.get(name)) for name in names if now[name] != then.get(name)]
