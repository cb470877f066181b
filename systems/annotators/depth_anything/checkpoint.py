"""Depth Anything V2 weight files (Yang et al. 2024, arXiv:2406.09414): which model a file holds, in the original names.

Weights come as the authors' .pth, as the same in .safetensors, or in a folder in the layout of Hugging Face, whose
config.json may describe a model of any sizes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import torch

from ...common.errors import CheckpointError, plain, quoted
from ...common.weights.config import MANY, ConfigReader
from ...common.weights.files import read_state
from ...common.weights.recognise import other_model
from ...common.weights.renaming import rename, renaming
from ...common.weights.shards import WeightFiles

# The side of a patch in pixels.
PATCH = 14


@dataclass(frozen=True)
class Variant:
    """width, depth, heads: of the DINOv2 backbone; taps: its blocks that the head reads; neck: channels of the four
    maps made of them; fusion: channels where these are joined; head: channels at the picture's full size; grid: patches
    along each side of the square that the position embedding was made for."""

    name: str
    width: int
    depth: int
    heads: int
    taps: tuple[int, int, int, int]
    neck: tuple[int, int, int, int]
    fusion: int
    head: int = 32
    grid: int = 37


VARIANTS = (
    Variant("vits", 384, 12, 6, (2, 5, 8, 11), (48, 96, 192, 384), 64),
    Variant("vitb", 768, 12, 12, (2, 5, 8, 11), (96, 192, 384, 768), 128),
    Variant("vitl", 1024, 24, 16, (4, 11, 17, 23), (256, 512, 1024, 1024), 256),
)

MODEL_AS_PUBLISHED = {
    "patch_size": PATCH,
    "reassemble_factors": [4, 2, 1, 0.5],
    "head_in_index": -1,
}
# The entries of config.json that are the same in every model of this kind.
BACKBONE_AS_PUBLISHED = {
    "model_type": "dinov2",
    "patch_size": PATCH,
    "num_channels": 3,
    "mlp_ratio": 4,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-6,
    "qkv_bias": True,
    "use_swiglu_ffn": False,
    "apply_layernorm": True,
    "reshape_hidden_states": False,
}

PATCHES = "pretrained.patch_embed.proj.weight"
# The beginnings of the names of tensors that are in the files and that no image passes through.
UNUSED = ("pretrained.mask_token", "depth_head.scratch.refinenet4.resConfUnit1.")

EXAMPLE = "choose a file such as depth_anything_v2_vitl.pth"
# The models whose files are met in the same folders, by names of their tensors.
OTHER_MODELS = (
    (r"(^|\.)motion_modules\.", "a Video Depth Anything model"),
    (r"(^|\.)(backbone\.pretrained|cam_enc|cam_dec)\.", "a Depth Anything V3 model"),
    (r"^(pretrained\.model|core\.core)\.", "a MiDaS or ZoeDepth model"),
    (r"^(unet|model\.diffusion_model|double_blocks|transformer_blocks)\.", "a diffusion model"),
    (r"^(image_encoder|sam_mask_decoder)\.", "a Segment Anything model"),
    (r"^(embeddings|encoder|blocks|patch_embed|pretrained)\.", "a vision backbone without a depth head"),
)

# Models with the very tensors of V2 that compute something else: only their names tell.
OTHER_NAMES = (
    (re.compile(r"metric", re.I), "a metric model"),
    (re.compile(r"depth_anything_vit[sbl]14", re.I), "a Depth Anything V1 model"),
)

# The way from the names that transformers reads to the original ones, which join query, key and value.
PUBLISHED = renaming(
    (
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

SEPARATE = re.compile(r"(pretrained\.blocks\.\d+\.attn\.)query(\.\w+)")


def read_depth_anything(path: Path) -> tuple[Path, Variant, dict[str, torch.Tensor]]:
    """The weight file of `path`, the model in it, and its tensors in the original names.

    `path` is a file, a folder with config.json, or the file of such a folder. Without a config.json, a file is one of
    VARIANTS by its width. Raises CheckpointError for what cannot be read and for another model.
    """
    if path.is_dir():
        files, config = WeightFiles(path, "model").files(), path / "config.json"
        if not files:
            raise CheckpointError(f"{path} holds no tensors, not Depth Anything V2; {EXAMPLE}.")
        file, variant = files[0], _described(ConfigReader(config))
        state = {name: value for each in files for name, value in read_state(each).items()}
    else:
        file, config, state = path, path.parent / "config.json", read_state(path)
        if not _is_published(state) or not config.is_file():
            return file, _by_width(file, state), state
        variant = _described(ConfigReader(config))
    state = _in_original_names(state)
    _check_model(file, state)
    width = _width(state)
    if width != variant.width:
        raise CheckpointError(
            f"{config} describes the {variant.name} model, {variant.width} wide, and {file.name} holds one {width} "
            "wide; download the folder again."
        )
    return file, variant, state


def _by_width(file: Path, state: Mapping[str, torch.Tensor]) -> Variant:
    """Which of the published models a state in the original names is; CheckpointError when it is none of them."""
    if _is_published(state):
        raise CheckpointError(
            f"{file} is of a Hugging Face folder, whose config.json tells Depth Anything V2 from V1; keep both in a "
            "folder of their own, and choose that folder."
        )
    _check_model(file, state)
    for pattern, model in OTHER_NAMES:
        if pattern.search(file.name):
            raise CheckpointError(
                f"{file} is {model} by its name, with the tensors of Depth Anything V2 but other depths; {EXAMPLE}."
            )
    for variant in VARIANTS:
        if variant.width == _width(state):
            return variant
    raise CheckpointError(
        f"{file} holds {PATCHES} as {quoted(list(state[PATCHES].shape))}, and Depth Anything V2 is 384 (vits), "
        "768 (vitb) or 1024 (vitl) wide; choose one of these."
    )


def _is_published(state: Mapping[str, torch.Tensor]) -> bool:
    """Whether these are the names of Hugging Face's layout."""
    return any(name.startswith("backbone.embeddings.") for name in state)


def _check_model(file: Path, state: Mapping[str, torch.Tensor]) -> None:
    if PATCHES not in state or not any(name.startswith("depth_head.") for name in state):
        raise CheckpointError(f"{file} holds {other_model(state, OTHER_MODELS)}, not Depth Anything V2; {EXAMPLE}.")


def _width(state: Mapping[str, torch.Tensor]) -> int:
    return state[PATCHES].shape[0] if state[PATCHES].ndim else 0


def _described(config: ConfigReader) -> Variant:
    """The model that config.json describes; one that is none of the published goes by its width and depth, such as
    vit48x4. What is left out is as in the published model of that width."""
    backbone = _checked_backbone(config)
    width = backbone.count("hidden_size")
    known = next((variant for variant in VARIANTS if variant.width == width), None)
    depth = backbone.count("num_hidden_layers", MANY, known and known.depth)
    heads = backbone.count("num_attention_heads", MANY, known and known.heads)
    taps = _taps(backbone, depth)
    if known and depth == known.depth and taps == tuple(range(depth - len(taps), depth)):
        raise CheckpointError(f"{config.path} describes a Depth Anything V1 model; take a folder of Depth Anything V2.")
    if width % heads:
        raise backbone.invalid("num_attention_heads", f"a number that divides hidden_size {width}")
    side = backbone.count("image_size", default=known and known.grid * PATCH)
    if side % PATCH:
        raise backbone.invalid("image_size", f"a multiple of {PATCH}")
    if config.count("reassemble_hidden_size", default=width) != width:
        raise config.invalid("reassemble_hidden_size", f"{width} as backbone_config.hidden_size is")
    fusion = config.count("fusion_hidden_size", default=known and known.fusion)
    if fusion == 1:
        raise config.invalid("fusion_hidden_size", "2 or more, which the head can halve")
    found = Variant(
        name=f"vit{width}x{depth}",
        width=width,
        depth=depth,
        heads=heads,
        taps=taps,
        neck=config.counts("neck_hidden_sizes", 4, known and list(known.neck)),
        fusion=fusion,
        head=config.count("head_hidden_size", default=known and known.head),
        grid=side // PATCH,
    )
    return known if known and replace(found, name=known.name) == known else found


def _checked_backbone(config: ConfigReader) -> ConfigReader:
    """The entries of the backbone, after telling Depth Anything V2 from metric models and from other models."""
    kind = config.raw("model_type")
    if kind != "depth_anything":
        raise CheckpointError(f"{config.path} describes the model {quoted(kind)}, not Depth Anything V2; {EXAMPLE}.")
    estimates = config.raw("depth_estimation_type", "relative")
    if estimates != "relative":
        raise CheckpointError(
            f"{config.path} describes a model of {plain(estimates, 40)} depth; take a Depth Anything V2 folder without "
            "Metric in its name."
        )
    backbone = config.object("backbone_config")
    for entries, published in ((config, MODEL_AS_PUBLISHED), (backbone, BACKBONE_AS_PUBLISHED)):
        for name, value in published.items():
            if entries.raw(name, value) != value:
                raise entries.invalid(name, f"{value} as in every Depth Anything V2")
    return backbone


def _taps(backbone: ConfigReader, depth: int) -> tuple[int, int, int, int]:
    """The blocks that the head reads, counted from 0."""
    taps = tuple(tap - 1 for tap in backbone.counts("out_indices", 4))
    if not all(one < other for one, other in pairwise((*taps, depth))):
        raise backbone.invalid("out_indices", f"four of the blocks 1 to {depth} in their order")
    return taps


def _in_original_names(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    renamed = {}
    for name, value in state.items():
        renamed[rename(name, PUBLISHED)] = value
    for name in [name for name in renamed if SEPARATE.fullmatch(name)]:
        parts = [SEPARATE.sub(rf"\g<1>{part}\2", name) for part in ("query", "key", "value")]
        if all(part in renamed for part in parts):
            try:
                joined = torch.cat([renamed[part] for part in parts])
            except RuntimeError:  # of shapes or kinds that belong to no model: the joined one is then missing
                continue
            for part in parts:
                del renamed[part]
            renamed[SEPARATE.sub(r"\1qkv\2", name)] = joined
    return renamed
