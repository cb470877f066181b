"""What a file has to hold: exactly the tensors of a model, as floating-point numbers."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch

from ..errors import CheckpointError, plain, quoted
from .files import AGAIN, is_weight, some


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
        if not is_weight(state[name]):
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
            "%s", plain(f"{file} holds NaN or infinity in {some(broken)}; images come out black or wrong, {AGAIN}.")
        )


def _total(values: torch.Tensor) -> torch.Tensor:
    """The sum, which NaN and infinity do not leave finite, at the speed of the memory."""
    return (values.float() if values.dtype.itemsize < 4 else values).sum()
