"""Depth Anything V2 weight files (Yang et al. 2024, arXiv:2406.09414): which model a file holds, in the original names.

Weights come as the authors' .pth, as the same in .safetensors, or in a folder in the layout of Hugging Face.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from ..errors import CheckpointError
from .entries import Entries
from .files import WeightFiles, read_state


@dataclass(frozen=True)
class Variant:
    """width, depth, heads: of the DINOv2 backbone; taps: its blocks that the head reads; neck: channels of the four
    maps made of them; fusion: channels where these are joined."""

    name: str
    width: int
    depth: int
    heads: int
    taps: tuple[int, int, int, int]
    neck: tuple[int, int, int, int]
    fusion: int


VARIANTS = (
    Variant("vits", 384, 12, 6, (2, 5, 8, 11), (48, 96, 192, 384), 64),
    Variant("vitb", 768, 12, 12, (2, 5, 8, 11), (96, 192, 384, 768), 128),
    Variant("vitl", 1024, 24, 16, (4, 11, 17, 23), (256, 512, 1024, 1024), 256),
)

PATCHES = "pretrained.patch_embed.proj.weight"
UNUSED = ("pretrained.mask_token", "depth_head.scratch.refinenet4.resConfUnit1.")
"""How the names of tensors begin that are in the files and that no picture passes through."""

EXAMPLE = "choose a file such as depth_anything_v2_vitl.pth"
OTHER_MODELS = (
    (r"(^|\.)motion_modules\.", "a Video Depth Anything model"),
    (r"(^|\.)(backbone\.pretrained|cam_enc|cam_dec)\.", "a Depth Anything V3 model"),
    (r"^(pretrained\.model|core\.core)\.", "a MiDaS or ZoeDepth model"),
    (r"^(unet|model\.diffusion_model|double_blocks|transformer_blocks)\.", "a diffusion model"),
    (r"^(image_encoder|sam_mask_decoder)\.", "a Segment Anything model"),
    (r"^(embeddings|encoder|blocks|patch_embed|pretrained)\.", "a vision backbone without a depth head"),
)
"""Whose files are met in the same folders, by a tensor's name."""

OTHER_NAMES = (
    (re.compile(r"metric", re.I), "a metric model"),
    (re.compile(r"depth_anything_vit[sbl]14", re.I), "a Depth Anything V1 model"),
)
"""Models with the very tensors of V2 that compute something else: only their names tell."""

PUBLISHED = tuple(
    (re.compile(pattern), name)
    for pattern, name in (
        (r"^backbone\.embeddings\.(cls_token|mask_token)$", r"pretrained.\1"),
        (r"^backbone\.embeddings\.position_embeddings$", "pretrained.pos_embed"),
        (r"^backbone\.embeddings\.patch_embeddings\.projection\.", "pretrained.patch_embed.proj."),
        (r"^backbone\.layernorm\.", "pretrained.norm."),
        (r"^backbone\.encoder\.layer\.(\d+)\.", r"pretrained.blocks.\1."),
        (r"^(pretrained\.blocks\.\d+\.)attention\.attention\.(query|key|value)\.", r"\1attn.\2."),
        (r"^(pretrained\.blocks\.\d+\.)attention\.output\.dense\.", r"\1attn.proj."),
        (r"^(pretrained\.blocks\.\d+\.)layer_scale([12])\.lambda1$", r"\1ls\2.gamma"),
        (r"^neck\.reassemble_stage\.layers\.(\d)\.projection\.", r"depth_head.projects.\1."),
        (r"^neck\.reassemble_stage\.layers\.(\d)\.resize\.", r"depth_head.resize_layers.\1."),
        (r"^head\.conv1\.", "depth_head.scratch.output_conv1."),
        (r"^head\.conv2\.", "depth_head.scratch.output_conv2.0."),
        (r"^head\.conv3\.", "depth_head.scratch.output_conv2.2."),
        (r"^neck\.convs\.0\.", "depth_head.scratch.layer1_rn."),
        (r"^neck\.convs\.1\.", "depth_head.scratch.layer2_rn."),
        (r"^neck\.convs\.2\.", "depth_head.scratch.layer3_rn."),
        (r"^neck\.convs\.3\.", "depth_head.scratch.layer4_rn."),
        (r"^neck\.fusion_stage\.layers\.0\.", "depth_head.scratch.refinenet4."),
        (r"^neck\.fusion_stage\.layers\.1\.", "depth_head.scratch.refinenet3."),
        (r"^neck\.fusion_stage\.layers\.2\.", "depth_head.scratch.refinenet2."),
        (r"^neck\.fusion_stage\.layers\.3\.", "depth_head.scratch.refinenet1."),
        (r"^(depth_head\.scratch\.refinenet\d\.)projection\.", r"\1out_conv."),
        (r"^(depth_head\.scratch\.refinenet\d\.)residual_layer([12])\.convolution([12])\.", r"\1resConfUnit\2.conv\3."),
    )
)
"""From the names of the checkpoints that transformers reads to the original ones, which join query, key and value."""

SEPARATE = re.compile(r"(pretrained\.blocks\.\d+\.attn\.)query(\.\w+)")


def read_depth_anything(path: Path) -> tuple[Path, dict[str, torch.Tensor]]:
    """The weight file of `path` (a file, or a folder with config.json) and its tensors in the original names.

    Raises CheckpointError for what cannot be read and for a folder of another model.
    """
    if not path.is_dir():
        return path, read_state(path)
    weights = WeightFiles(path, "model")
    variant = _tapped(Entries(path / "config.json"))
    state = _in_original_names({name: read for file in weights.files() for name, read in read_state(file).items()})
    file = weights.files()[0]
    if state and variant_of(file, state) != variant:
        raise CheckpointError(
            f"{path / 'config.json'} describes the {variant.name} model and {file.name} holds another; download the "
            "folder again."
        )
    return file, state


def variant_of(file: Path, state: Mapping[str, torch.Tensor]) -> Variant:
    """Which of the models a state in the original names is, by its width; CheckpointError when it is none of them."""
    if any(name.startswith("backbone.embeddings.") for name in state):
        raise CheckpointError(
            f"{file} is of a Hugging Face folder, whose config.json tells Depth Anything V2 from V1; keep both in a "
            "folder of their own, and choose that folder."
        )
    if PATCHES not in state or not any(name.startswith("depth_head.") for name in state):
        raise CheckpointError(f"{file} holds {_other_model(state)}, not Depth Anything V2; {EXAMPLE}.")
    for pattern, model in OTHER_NAMES:
        if pattern.search(file.name):
            raise CheckpointError(
                f"{file} is {model} by its name, with the tensors of Depth Anything V2 but other depths; {EXAMPLE}."
            )
    width = state[PATCHES].shape[0] if state[PATCHES].ndim else 0
    for variant in VARIANTS:
        if variant.width == width:
            return variant
    raise CheckpointError(
        f"{file} holds {PATCHES} as {list(state[PATCHES].shape)}, and Depth Anything V2 is 384 (vits), 768 (vitb) or "
        "1024 (vitl) wide; choose one of these."
    )


def _other_model(state: Mapping[str, torch.Tensor]) -> str:
    if not state:
        return "no tensors"
    for pattern, model in OTHER_MODELS:
        if any(re.search(pattern, name) for name in state):
            return model
    return f"another model (with {sorted(state)[0][:60]!r})"


def _tapped(config: Entries) -> Variant:
    """The variant that config.json describes, after telling V2 from V1 and from metric models."""
    kind = config.raw("model_type")
    if kind != "depth_anything":
        raise CheckpointError(
            f"{config.path} describes the model {str(kind)[:40]!r}, not Depth Anything V2; {EXAMPLE}."
        )
    estimates = config.raw("depth_estimation_type", "relative")
    if estimates != "relative":
        raise CheckpointError(
            f"{config.path} describes a model of {str(estimates)[:40]} depth; take a Depth Anything V2 folder without "
            "Metric in its name."
        )
    backbone = config.object("backbone_config")
    width = backbone.count("hidden_size")
    variant = next((known for known in VARIANTS if known.width == width), None)
    if variant is None:
        raise backbone.garbled("hidden_size", "384, 768 or 1024")
    taps = tuple(int(tap) - 1 for tap in backbone.numbers("out_indices", len(variant.taps)))
    if taps == tuple(range(variant.depth - len(taps), variant.depth)):
        raise CheckpointError(f"{config.path} describes a Depth Anything V1 model; take a folder of Depth Anything V2.")
    if taps != variant.taps:
        raise backbone.garbled("out_indices", f"{[tap + 1 for tap in variant.taps]} as in the {variant.name} model")
    return variant


def _in_original_names(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    renamed = {}
    for name, value in state.items():
        for pattern, new in PUBLISHED:
            name = pattern.sub(new, name)
        renamed[name] = value
    for name in [name for name in renamed if SEPARATE.fullmatch(name)]:
        parts = [SEPARATE.sub(rf"\g<1>{part}\2", name) for part in ("query", "key", "value")]
        if all(part in renamed for part in parts):
            renamed[SEPARATE.sub(r"\1qkv\2", name)] = torch.cat([renamed.pop(part) for part in parts])
    return renamed
