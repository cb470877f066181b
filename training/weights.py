"""Networks without memory get the weights of their files."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import nn

from systems.common.weights.shards import WeightFiles, check_layout


def fill(
    module: nn.Module,
    files: WeightFiles,
    source: str,
    trained: Collection[str] = (),
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    unused: tuple[str, ...] = (),
) -> None:
    """Read the weights of a module on the meta device: those of the names in `trained` in float32, to train, all
    others frozen in `dtype`. Each goes to `device` as soon as it is read.

    source: who calls for these weights, in errors; unused: beginnings of names that are left alone, here and there.
    Raises CheckpointError for missing, unexpected or misshapen tensors before any of them is read.
    """
    state = module.state_dict()
    shapes = {name: tuple(value.shape) for name, value in state.items() if not name.startswith(unused)}
    check_layout(files, shapes, source, unused)
    dtypes = {name: torch.float32 if name in trained else dtype for name in shapes}
    module.load_state_dict({name: files.read(name, dtype).to(device) for name, dtype in dtypes.items()}, False, True)
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(name in trained)
