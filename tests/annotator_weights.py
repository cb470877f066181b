"""Random weights for the annotators, in the names and true shapes of the published files."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from pathlib import Path

import torch


def random_tensors(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    """Float32 tensors seeded by their names: matrices and kernels that keep the size of what passes through them,
    scales near 1, biases near 0."""
    state = {}
    for name, shape in shapes.items():
        values = torch.randn(shape, generator=torch.Generator().manual_seed(zlib.crc32(name.encode())))
        if len(shape) > 1:
            values /= math.sqrt(math.prod(shape[1:])) if name.endswith(".weight") and shape[0] > 1 else 1
        elif name.endswith(".bias"):
            values *= 0.05
        else:
            values = 1 + 0.1 * values
        state[name] = values
    return state


def write_depth(path: Path, variant: str = "vits", dtype: torch.dtype = torch.float32) -> Path:
    """A Depth Anything V2 file as the authors' .pth, or .safetensors; returns the path."""
    shapes = depth_shapes(variant)
    state = random_tensors(shapes)
    # large enough for every tap and every block to matter, and depths above 0, where ReLU lets them through
    state = {name: value * 0.3 if name.endswith(".gamma") else value for name, value in state.items()}
    state["depth_head.scratch.output_conv2.2.bias"] += 8
    return _write({name: value.to(dtype) for name, value in state.items()}, path)


def write_depth_folder(folder: Path, dtype: torch.dtype = torch.float32) -> Path:
    """A Depth Anything V2 of sizes that nobody published, as transformers saves it; returns the folder."""
    from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation, Dinov2Config

    backbone = Dinov2Config(
        hidden_size=48, num_hidden_layers=5, num_attention_heads=3, out_indices=[1, 2, 3, 5], image_size=112,
        patch_size=14, reshape_hidden_states=False,
    )  # fmt: skip
    config = DepthAnythingConfig(
        backbone_config=backbone, reassemble_hidden_size=48, neck_hidden_sizes=[12, 16, 24, 32],
        fusion_hidden_size=16, head_hidden_size=24,
    )  # fmt: skip
    model = DepthAnythingForDepthEstimation(config)
    state = random_tensors({name: tuple(value.shape) for name, value in model.state_dict().items()})
    state = {name: value * 0.3 if name.endswith(".lambda1") else value for name, value in state.items()}
    state["head.conv3.bias"] += 8
    model.load_state_dict(state)
    model.to(dtype).save_pretrained(folder)
    return folder


def depth_shapes(variant: str) -> dict[str, tuple[int, ...]]:
    """All tensors of a published Depth Anything V2 file. tests/parity loads them in transformers, strictly."""
    width, depth, neck, fusion = {
        "vits": (384, 12, (48, 96, 192, 384), 64),
        "vitb": (768, 12, (96, 192, 384, 768), 128),
        "vitl": (1024, 24, (256, 512, 1024, 1024), 256),
    }[variant]
    shapes = {"cls_token": (1, 1, width), "pos_embed": (1, 1370, width), "mask_token": (1, width)}
    shapes |= _layer("patch_embed.proj", width, 3, 14, 14)
    for number in range(depth):
        block = f"blocks.{number}"
        shapes |= _layer(f"{block}.norm1", width) | _layer(f"{block}.attn.qkv", 3 * width, width)
        shapes |= _layer(f"{block}.attn.proj", width, width) | {f"{block}.ls1.gamma": (width,)}
        shapes |= _layer(f"{block}.norm2", width) | _layer(f"{block}.mlp.fc1", 4 * width, width)
        shapes |= _layer(f"{block}.mlp.fc2", width, 4 * width) | {f"{block}.ls2.gamma": (width,)}
    shapes = {f"pretrained.{name}": shape for name, shape in (shapes | _layer("norm", width)).items()}
    for number, (channels, kernel) in enumerate(zip(neck, (4, 2, None, 3), strict=True)):
        shapes |= _layer(f"depth_head.projects.{number}", channels, width, 1, 1)
        if kernel:
            shapes |= _layer(f"depth_head.resize_layers.{number}", channels, channels, kernel, kernel)
        refine = f"depth_head.scratch.refinenet{number + 1}"
        shapes |= {f"depth_head.scratch.layer{number + 1}_rn.weight": (fusion, channels, 3, 3)}
        shapes |= _layer(f"{refine}.out_conv", fusion, fusion, 1, 1)
        for unit in ("resConfUnit1.conv1", "resConfUnit1.conv2", "resConfUnit2.conv1", "resConfUnit2.conv2"):
            shapes |= _layer(f"{refine}.{unit}", fusion, fusion, 3, 3)
    shapes |= _layer("depth_head.scratch.output_conv1", fusion // 2, fusion, 3, 3)
    shapes |= _layer("depth_head.scratch.output_conv2.0", 32, fusion // 2, 3, 3)
    return shapes | _layer("depth_head.scratch.output_conv2.2", 1, 32, 1, 1)


def write_mteed(path: Path) -> Path:
    """AnyLine's MTEED.pth, or the same as .safetensors; returns the path."""
    state = random_tensors(mteed_shapes())
    # pixels of 0 to 255 come in; the edges spread over all three steps
    state["block_1.conv1.weight"] /= 64
    for number in (1, 2, 3):
        state[f"up_block_{number}.features.{5 if number == 3 else 2}.weight"] *= 32
    state["up_block_1.features.2.bias"] -= 8
    return _write(state, path)


def mteed_shapes() -> dict[str, tuple[int, ...]]:
    """All tensors of a TED network: 58,910 numbers. tests/parity loads them in controlnet-aux, strictly."""
    shapes = _layer("block_1.conv1", 16, 3, 3, 3) | _layer("block_1.conv2", 16, 16, 3, 3)
    shapes |= _layer("block_2.conv1", 32, 16, 3, 3) | _layer("block_2.conv2", 32, 32, 3, 3)
    shapes |= _layer("dblock_3.denselayer1.conv1", 48, 32, 3, 3) | _layer("dblock_3.denselayer1.conv2", 48, 48, 3, 3)
    shapes |= _layer("side_1.conv", 32, 16, 1, 1) | _layer("pre_dense_3.conv", 48, 32, 1, 1)
    for number, width in ((1, 16), (2, 32)):
        block = f"up_block_{number}.features"
        shapes |= _layer(f"{block}.0", 1, width, 1, 1) | _layer(f"{block}.2", 1, 1, 2, 2)
    block = "up_block_3.features"
    shapes |= _layer(f"{block}.0", 16, 48, 1, 1) | _layer(f"{block}.2", 16, 16, 4, 4)
    shapes |= _layer(f"{block}.3", 1, 16, 1, 1) | _layer(f"{block}.5", 1, 1, 4, 4)
    return shapes | _layer("block_cat.DWconv1", 24, 1, 3, 3) | _layer("block_cat.DWconv2", 24, 1, 3, 3)


def _write(state: dict[str, torch.Tensor], path: Path) -> Path:
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)
    return path


def write_sam2(path: Path, variant: str = "tiny", version: str = "2.1") -> Path:
    """A SAM 2 file as Meta's: .pt with the weights nested under `model`, or .safetensors; returns the path."""
    from safetensors.torch import save_file

    state = random_tensors(sam2_shapes(variant, version))
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save({"model": state}, path)
    return path


def sam2_shapes(variant: str, version: str = "2.1") -> dict[str, tuple[int, ...]]:
    """All tensors of a published SAM 2 file, the video part too. tests/parity loads it in Meta's own code, strictly."""
    from systems.annotators.sam2.checkpoint import VARIANTS, image_shapes

    shapes = image_shapes(next(known for known in VARIANTS if known.name == variant))
    shapes |= {"maskmem_tpos_enc": (7, 1, 1, 64), "no_mem_pos_enc": (1, 1, 256), "no_obj_ptr": (1, 256)}
    if version == "2.1":
        shapes |= {"no_obj_embed_spatial": (1, 64), **_layer("obj_ptr_tpos_proj", 64, 256)}
    shapes |= _layer("mask_downsample", 1, 1, 4, 4)
    for number in range(3):
        shapes |= _layer(f"obj_ptr_proj.layers.{number}", 256, 256)
    for number in range(4):
        layer = f"memory_attention.layers.{number}"
        for attention, inputs in (("self_attn", 256), ("cross_attn_image", 64)):
            shapes |= _layer(f"{layer}.{attention}.q_proj", 256, 256) | _layer(
                f"{layer}.{attention}.out_proj", 256, 256
            )
            for projection in ("k_proj", "v_proj"):
                shapes |= _layer(f"{layer}.{attention}.{projection}", 256, inputs)
        shapes |= _layer(f"{layer}.linear1", 2048, 256) | _layer(f"{layer}.linear2", 256, 2048)
        for norm in ("norm1", "norm2", "norm3"):
            shapes |= _layer(f"{layer}.{norm}", 256)
    shapes |= _layer("memory_attention.norm", 256)
    downsampler = "memory_encoder.mask_downsampler.encoder"
    for number, (inputs, outputs) in enumerate(((1, 4), (4, 16), (16, 64), (64, 256))):
        shapes |= _layer(f"{downsampler}.{3 * number}", outputs, inputs, 3, 3)
        shapes |= _layer(f"{downsampler}.{3 * number + 1}", outputs)
    shapes |= _layer(f"{downsampler}.12", 256, 256, 1, 1) | _layer("memory_encoder.pix_feat_proj", 256, 256, 1, 1)
    for number in range(2):
        layer = f"memory_encoder.fuser.layers.{number}"
        shapes |= {f"{layer}.gamma": (256,), **_layer(f"{layer}.dwconv", 256, 1, 7, 7), **_layer(f"{layer}.norm", 256)}
        shapes |= _layer(f"{layer}.pwconv1", 1024, 256) | _layer(f"{layer}.pwconv2", 256, 1024)
    return shapes | _layer("memory_encoder.out_proj", 64, 256, 1, 1)


def _layer(name: str, *weight: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": weight, f"{name}.bias": weight[:1]}
