"""SAM 2 and 2.1 weight files (facebookresearch/sam2): which of the models a file holds, and its image part.

The video part (memory attention, memory encoder, object pointers) may be there and is not read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from ...common.errors import CheckpointError, quoted
from ...common.weights.checks import check_state
from ...common.weights.files import read_state
from ...common.weights.recognise import other_model
from ...common.weights.renaming import rename, renaming

# The width of the neck, the prompts and the mask decoder in every variant.
WIDTH = 256


@dataclass(frozen=True)
class Variant:
    """Hiera backbone of one model. width, heads: of the first stage, doubled from stage to stage; blocks, windows: by
    stage; global_blocks: those that see the whole picture; background: side of the coarse position embedding."""

    name: str
    width: int
    heads: int
    blocks: tuple[int, int, int, int]
    global_blocks: tuple[int, ...]
    windows: tuple[int, int, int, int]
    background: int

    @property
    def widths(self) -> tuple[int, ...]:
        """By stage."""
        return tuple(self.width << stage for stage in range(4))

    @property
    def depth(self) -> int:
        """Blocks of all stages."""
        return sum(self.blocks)


VARIANTS = (
    Variant("tiny", 96, 1, (1, 2, 7, 2), (5, 7, 9), (8, 4, 14, 7), 7),
    Variant("small", 96, 1, (1, 2, 11, 2), (7, 10, 13), (8, 4, 14, 7), 7),
    Variant("base plus", 112, 2, (2, 3, 16, 3), (12, 16, 20), (8, 4, 14, 7), 14),
    Variant("large", 144, 2, (2, 6, 36, 4), (23, 33, 43), (8, 4, 16, 8), 7),
)

PATCHES = "image_encoder.trunk.patch_embed.proj.weight"
BLOCK = re.compile(r"(?:image_encoder\.trunk|vision_encoder\.backbone)\.blocks\.(\d+)\.")
OF_VERSION_2_1 = ("no_obj_embed_spatial", "occlusion_spatial_embedding_parameter")
# The beginnings of the names of tensors that only a video needs.
VIDEO = (
    "memory_attention.",
    "memory_encoder.",
    "mask_downsample.",
    "maskmem_tpos_enc",
    "no_mem_pos_enc",
    "no_obj_ptr",
    "no_obj_embed_spatial",
    "obj_ptr_proj.",
    "obj_ptr_tpos_proj.",
    # the same in transformers' names
    "memory_temporal_positional_encoding",
    "no_memory_positional_encoding",
    "no_object_pointer",
    "object_pointer_proj.",
    "occlusion_spatial_embedding_parameter",
    "temporal_positional_encoding_projection_layer.",
)

# The models whose files are met in the same folders, by names of their tensors.
OTHER_MODELS = (
    (r"^(detector|tracker)(_model)?\.", "a SAM 3 model"),
    (r"^image_encoder\.trunk\.body\.", "an EdgeTAM model"),
    (r"^image_encoder\.layers\.", "a MobileSAM model"),
    (r"^(image_encoder\.(blocks|patch_embed)|vision_encoder\.layers)\.", "a SAM 1 model"),
    (r"^(pretrained|depth_head)\.", "a Depth Anything model"),
    (r"^(double_blocks|transformer_blocks|model\.diffusion_model)\.", "a diffusion model"),
)

# The way from Meta's names to those that transformers reads.
PUBLISHED = renaming(
    (
        (r"^sam_mask_decoder\.", "mask_decoder."),
        (r"^sam_prompt_encoder\.", "prompt_encoder."),
        (r"^image_encoder\.trunk\.", "vision_encoder.backbone."),
        (r"^image_encoder\.neck\.convs\.(\d)\.conv\.", r"vision_encoder.neck.convs.\1."),
        (r"^no_mem_embed$", "no_memory_embedding"),
        (r"patch_embed\.proj\.", "patch_embed.projection."),
        (r"pe_layer\.positional_encoding_gaussian_matrix", "shared_embedding.positional_embedding"),
        (r"mask_downscaling\.0\.", "mask_embed.conv1."),
        (r"mask_downscaling\.1\.", "mask_embed.layer_norm1."),
        (r"mask_downscaling\.3\.", "mask_embed.conv2."),
        (r"mask_downscaling\.4\.", "mask_embed.layer_norm2."),
        (r"mask_downscaling\.6\.", "mask_embed.conv3."),
        (r"output_upscaling\.0\.", "upscale_conv1."),
        (r"output_upscaling\.1\.", "upscale_layer_norm."),
        (r"output_upscaling\.3\.", "upscale_conv2."),
        # a perceptron of three layers, and of two
        (r"(head|hypernetworks_mlps\.\d)\.layers\.0\.", r"\1.proj_in."),
        (r"(head|hypernetworks_mlps\.\d)\.layers\.1\.", r"\1.layers.0."),
        (r"(head|hypernetworks_mlps\.\d)\.layers\.2\.", r"\1.proj_out."),
        (r"\.mlp\.layers\.0\.", ".mlp.proj_in."),
        (r"\.mlp\.layers\.1\.", ".mlp.proj_out."),
        (r"\.norm(\d|_final_attn)\.", r".layer_norm\1."),
        (r"\.out_proj\.", ".o_proj."),
    )
)

POINT = "prompt_encoder.point_embed.weight"
PROMPT_POSITIONS = "prompt_encoder.shared_embedding.positional_embedding"
PICTURE_POSITIONS = "shared_image_embedding.positional_embedding"


@dataclass(frozen=True)
class Sam2Weights:
    """variant: which model; version: "2", "2.1", or "" where the video part was taken out of the file;
    state: float32 tensors of the image part, in the names of the checkpoints that transformers reads."""

    variant: Variant
    version: str
    state: dict[str, torch.Tensor]


def read_sam2(path: Path) -> Sam2Weights:
    """Weights from Meta's .pt, the same as .safetensors, or a folder in the layout of Hugging Face.

    Raises CheckpointError for the file of another model, and for missing, unknown or misshapen tensors.
    """
    file = path / "model.safetensors" if path.is_dir() else path
    state = read_state(file)
    published = published_name(PATCHES) in state
    variant = _variant(state, published_name(PATCHES) if published else PATCHES, file)
    expected = image_shapes(variant)
    if published:
        expected = _published_shapes(expected)
        if PICTURE_POSITIONS in state:  # one matrix, which not every file holds twice
            state.setdefault(PROMPT_POSITIONS, state[PICTURE_POSITIONS])
        state.pop(PICTURE_POSITIONS, None)
    check_state(file, state, expected, f"SAM 2 {variant.name}", ignored=VIDEO)
    image_part = {name: state[name].float() for name in expected}
    image_part = image_part if published else _in_published_names(image_part)
    image_part[PICTURE_POSITIONS] = image_part[PROMPT_POSITIONS]
    return Sam2Weights(variant, _version(state), image_part)


def image_shapes(variant: Variant) -> dict[str, tuple[int, ...]]:
    """Every tensor of the image part in Meta's names, with its shape."""
    return dict([*_encoder(variant), *_prompt_encoder(), *_mask_decoder()])


def published_name(name: str) -> str:
    """The name in a checkpoint that transformers reads, of a tensor in Meta's."""
    return rename(name, PUBLISHED)


def _encoder(variant: Variant) -> Iterator[tuple[str, tuple[int, ...]]]:
    trunk = "image_encoder.trunk"
    yield f"{trunk}.pos_embed", (1, variant.width, variant.background, variant.background)
    yield f"{trunk}.pos_embed_window", (1, variant.width, variant.windows[0], variant.windows[0])
    yield f"{trunk}.patch_embed.proj.weight", (variant.width, 3, 7, 7)
    yield f"{trunk}.patch_embed.proj.bias", (variant.width,)
    stages = [stage for stage, count in enumerate(variant.blocks) for _ in range(count)]
    for number, stage in enumerate(stages):
        block, width = f"{trunk}.blocks.{number}", variant.widths[stage]
        before = variant.widths[stages[max(number - 1, 0)]]
        yield from _vector(f"{block}.norm1", before)
        yield from _linear(f"{block}.attn.qkv", before, 3 * width)
        yield from _linear(f"{block}.attn.proj", width, width)
        yield from _vector(f"{block}.norm2", width)
        yield from _linear(f"{block}.mlp.layers.0", width, 4 * width)
        yield from _linear(f"{block}.mlp.layers.1", 4 * width, width)
        if before != width:
            yield from _linear(f"{block}.proj", before, width)
    for number, width in enumerate(reversed(variant.widths)):
        yield from _linear(f"image_encoder.neck.convs.{number}.conv", width, WIDTH, 1, 1)
    yield "no_mem_embed", (1, 1, WIDTH)


def _prompt_encoder() -> Iterator[tuple[str, tuple[int, ...]]]:
    prompts = "sam_prompt_encoder"
    yield f"{prompts}.pe_layer.positional_encoding_gaussian_matrix", (2, WIDTH // 2)
    for name in (*(f"point_embeddings.{label}" for label in range(4)), "not_a_point_embed", "no_mask_embed"):
        yield f"{prompts}.{name}.weight", (1, WIDTH)
    yield from _linear(f"{prompts}.mask_downscaling.0", 1, 4, 2, 2)
    yield from _vector(f"{prompts}.mask_downscaling.1", 4)
    yield from _linear(f"{prompts}.mask_downscaling.3", 4, 16, 2, 2)
    yield from _vector(f"{prompts}.mask_downscaling.4", 16)
    yield from _linear(f"{prompts}.mask_downscaling.6", 16, WIDTH, 1, 1)


def _mask_decoder() -> Iterator[tuple[str, tuple[int, ...]]]:
    decoder = "sam_mask_decoder"
    for number in range(2):
        layer = f"{decoder}.transformer.layers.{number}"
        yield from _attention(f"{layer}.self_attn", WIDTH)
        yield from _attention(f"{layer}.cross_attn_token_to_image", WIDTH // 2)
        yield from _attention(f"{layer}.cross_attn_image_to_token", WIDTH // 2)
        yield from _linear(f"{layer}.mlp.layers.0", WIDTH, 8 * WIDTH)
        yield from _linear(f"{layer}.mlp.layers.1", 8 * WIDTH, WIDTH)
        for norm in range(1, 5):
            yield from _vector(f"{layer}.norm{norm}", WIDTH)
    yield from _attention(f"{decoder}.transformer.final_attn_token_to_image", WIDTH // 2)
    yield from _vector(f"{decoder}.transformer.norm_final_attn", WIDTH)
    for token, count in (("iou_token", 1), ("mask_tokens", 4), ("obj_score_token", 1)):
        yield f"{decoder}.{token}.weight", (count, WIDTH)
    yield f"{decoder}.output_upscaling.0.weight", (WIDTH, WIDTH // 4, 2, 2)
    yield f"{decoder}.output_upscaling.0.bias", (WIDTH // 4,)
    yield from _vector(f"{decoder}.output_upscaling.1", WIDTH // 4)
    yield f"{decoder}.output_upscaling.3.weight", (WIDTH // 4, WIDTH // 8, 2, 2)
    yield f"{decoder}.output_upscaling.3.bias", (WIDTH // 8,)
    yield from _linear(f"{decoder}.conv_s0", WIDTH, WIDTH // 8, 1, 1)
    yield from _linear(f"{decoder}.conv_s1", WIDTH, WIDTH // 4, 1, 1)
    heads = {f"output_hypernetworks_mlps.{number}": WIDTH // 8 for number in range(4)}
    for head, outputs in {**heads, "iou_prediction_head": 4, "pred_obj_score_head": 1}.items():
        for number, width in enumerate((WIDTH, WIDTH, outputs)):
            yield from _linear(f"{decoder}.{head}.layers.{number}", WIDTH, width)


def _linear(name: str, inputs: int, outputs: int, *kernel: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", (outputs, inputs, *kernel)
    yield f"{name}.bias", (outputs,)


def _vector(name: str, width: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", (width,)
    yield f"{name}.bias", (width,)


def _attention(name: str, inner: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    for projection in ("q_proj", "k_proj", "v_proj"):
        yield from _linear(f"{name}.{projection}", WIDTH, inner)
    yield from _linear(f"{name}.out_proj", inner, WIDTH)


def _variant(state: dict[str, torch.Tensor], patches: str, file: Path) -> Variant:
    """Whose width the patch embedding has, and of those the one with about as many blocks."""
    if patches not in state:
        raise CheckpointError(
            f"{file} holds {other_model(state, OTHER_MODELS)}, not SAM 2; choose a file such as sam2_hiera_large.pt or "
            "sam2.1_hiera_base_plus.safetensors."
        )
    width = state[patches].shape[0] if state[patches].ndim else 0
    depth = len({match[1] for match in map(BLOCK.match, state) if match})
    fitting = [variant for variant in VARIANTS if variant.width == width]
    if not fitting:
        raise CheckpointError(
            f"{file} holds {patches} as {quoted(list(state[patches].shape))}, and SAM 2 is 96, 112 or 144 wide; choose "
            "one of Meta's four models."
        )
    return min(fitting, key=lambda variant: abs(variant.depth - depth))


def _version(state: dict[str, torch.Tensor]) -> str:
    if any(name in state for name in OF_VERSION_2_1):
        return "2.1"
    return "2" if any(name.startswith(VIDEO) for name in state) else ""


def _published_shapes(shapes: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    kept = {published_name(name): shape for name, shape in shapes.items() if ".point_embeddings." not in name}
    return {**kept, POINT: (4, WIDTH)}


def _in_published_names(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    points = [state[f"sam_prompt_encoder.point_embeddings.{label}.weight"] for label in range(4)]
    kept = {published_name(name): value for name, value in state.items() if ".point_embeddings." not in name}
    return {**kept, POINT: torch.cat(points)}
