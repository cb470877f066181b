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
    from qwen2vl_flux_pack.checkpoints.sam2 import VARIANTS, image_shapes

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
