"""AnyLine's MTEED.pth, or the same as .safetensors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from ...common.errors import CheckpointError
from ...common.weights.checks import check_state
from ...common.weights.files import read_state
from ...common.weights.recognise import known_model, other_model

# A tensor that every TEED file has.
TEED_TENSOR = "block_1.conv1.weight"
# The models whose files are met in the same folders, by names of their tensors.
OTHER_MODELS = (
    (r"^(norm|block1_1\.|netVgg|module\.netVgg)", "a HED model"),
    (r"^(init_block|conv_layers)\.", "a PiDiNet model"),
    (r"^model[012]\.", "a line art model"),
    (r"^(dblock_[45]|block_3)\.", "an LDC or DexiNed model"),
    (r"^block_cat\.conv1\.", "another version of TEED"),
    (r"^(pretrained|depth_head)\.", "a Depth Anything model"),
    (r"^(image_encoder|sam_mask_decoder)\.", "a Segment Anything model"),
    (r"^(model\.diffusion_model|double_blocks|transformer_blocks)\.", "a diffusion model"),
)


def read_anyline(path: Path, expected: Mapping[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    """The expected tensors by name; raises CheckpointError for another model and for missing, unknown or misshapen
    tensors."""
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder, and AnyLine is one file; choose MTEED.pth.")
    state = read_state(path)
    if TEED_TENSOR not in state or known_model(state, OTHER_MODELS):
        other = other_model(state, OTHER_MODELS)
        raise CheckpointError(f"{path} holds {other}, not AnyLine's TEED; choose MTEED.pth.")
    check_state(path, state, expected, "AnyLine's TEED")
    return {name: state[name] for name in expected}
