"""Trained weights in the published layout of Qwen2VL-Flux, `flux/` and `qwen2-vl/`, which the loaders read."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from systems.common.weights.files import read_pt
from systems.common.weights.shards import WeightFiles
from systems.qwen2vl_flux.checkpoint import open_encoder

from ..names import within
from ..published_folder import Writer, copy_folder, shard_writers
from .networks import STEM

COMPONENTS = ("flux", "qwen2-vl")
LINEARS = ("connector", "t5_embedder")


def export(base: Path, weights: Mapping[str, Tensor], target: Path) -> None:
    """The published folder of `base` with other weights, by their names in Networks, at `target`, which must not
    exist."""
    writers = {
        **shard_writers(WeightFiles(base / "flux" / "transformer", STEM), within(weights, "flux.")),
        **shard_writers(open_encoder(base / "qwen2-vl"), within(weights, "qwen.")),
    }
    for name in LINEARS:
        path, state = base / "qwen2-vl" / f"{name}.pt", within(weights, f"{name}.")
        if state:
            writers[path] = _linear_writer(path, state)
    copy_folder(base, target, COMPONENTS, writers)


def _linear_writer(source: Path, changed: Mapping[str, Tensor]) -> Writer:
    def write(target: Path) -> None:
        state = read_pt(source)
        for name, value in state.items():
            trained = changed.get(name.removeprefix("linear."), value)
            state[name] = trained.detach().to("cpu", value.dtype).clone()
        buffer = io.BytesIO()
        torch.save(state, buffer)
        target.write_bytes(buffer.getbuffer())

    return write
