"""AnyLine's MTEED.pth, or the same as .safetensors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from ...common.errors import CheckpointError, quoted
from ...common.weights.shards import check_state, read_state

FIRST = "block_1.conv1.weight"
# Whose files are met in the same folders, by how the names of their tensors begin.
OTHER_MODELS = (
    (("norm", "block1_1.", "netVgg", "module.netVgg"), "a HED model"),
    (("init_block.", "conv_layers."), "a PiDiNet model"),
    (("model0.", "model1.", "model2."), "a line art model"),
    (("dblock_4.", "dblock_5.", "block_3."), "an LDC or DexiNed model"),
    (("block_cat.conv1.",), "another version of TEED"),
    (("pretrained.", "depth_head."), "a Depth Anything model"),
    (("image_encoder.", "sam_mask_decoder."), "a Segment Anything model"),
    (("model.diffusion_model.", "double_blocks.", "transformer_blocks."), "a diffusion model"),
)


def read_anyline(path: Path, expected: Mapping[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    """The expected tensors by name; raises CheckpointError for another model and for missing, unknown or misshapen
    tensors."""
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder, and AnyLine is one file; choose MTEED.pth.")
    state = read_state(path)
    other = next((model for starts, model in OTHER_MODELS if any(name.startswith(starts) for name in state)), "")
    if FIRST not in state or other:
        other = other or (f"another model (with {quoted(sorted(state)[0])})" if state else "no tensors")
        raise CheckpointError(f"{path} holds {other}, not AnyLine's TEED; choose MTEED.pth.")
    check_state(path, state, expected, "AnyLine's TEED")
    return {name: state[name] for name in expected}
