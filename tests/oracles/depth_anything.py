"""Depth Anything V2 as its authors run it, on given pictures: OpenCV's resize, and transformers' network.

  depth_anything.py in.safetensors out.safetensors <checkpoint .pth> <variant> <original | transformers> [folder]
  depth_anything.py in.safetensors out.safetensors <folder> any <original | transformers>

in: pictures [H, W, 3] uint8 by name. out, for each: pixels.<name> [1, 3, h, w], raw.<name> [h, w] and depth.<name>
[H, W] as infer_image gives it. variant: vits, vitb or vitl; a folder with config.json says itself what it is. The word
after it says whose position embedding is used: transformers does not stretch it by the original's tenth of a patch. The
model of a .pth is saved to the folder named last, if one is.
"""

from __future__ import annotations

import math
import sys

import cv2
import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import interpolate
from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation, Dinov2Config
from transformers.models.dinov2.modeling_dinov2 import Dinov2Embeddings

SIZES = {
    "vits": (384, 12, 6, [3, 6, 9, 12], [48, 96, 192, 384], 64),
    "vitb": (768, 12, 12, [3, 6, 9, 12], [96, 192, 384, 768], 128),
    "vitl": (1024, 24, 16, [5, 12, 18, 24], [256, 512, 1024, 1024], 256),
}


def main(given: str, made: str, checkpoint: str, variant: str, positions: str, folder: str = "") -> None:
    torch.set_num_threads(1)
    if positions == "original":
        Dinov2Embeddings.interpolate_pos_encoding = original_positions
    if variant == "any":
        model = DepthAnythingForDepthEstimation.from_pretrained(checkpoint).float().eval()
    else:
        model = transformers_model(torch.load(checkpoint, weights_only=True), variant)
    if folder:
        model.save_pretrained(folder)
    results = {}
    for name, picture in load_file(given).items():
        pixels, (height, width) = original_pixels(picture.numpy())
        with torch.no_grad():
            raw = model(pixels).predicted_depth
            depth = interpolate(raw[:, None], (height, width), mode="bilinear", align_corners=True)[0, 0]
        results |= {f"pixels.{name}": pixels, f"raw.{name}": raw[0], f"depth.{name}": depth}
    save_file({name: value.contiguous() for name, value in results.items()}, made)


def original_pixels(picture: np.ndarray) -> tuple[torch.Tensor, tuple[int, int]]:
    """The steps of infer_image's preprocessing for an RGB picture: lower bound 518, multiples of 14."""
    height, width = picture.shape[:2]
    scale = max(518 / height, 518 / width)
    sizes = []
    for edge in (width, height):
        rounded = int(np.round(scale * edge / 14) * 14)
        sizes.append(rounded if rounded >= 518 else int(np.ceil(scale * edge / 14) * 14))
    image = cv2.resize(picture / 255.0, tuple(sizes), interpolation=cv2.INTER_CUBIC)
    image = (image - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    return torch.from_numpy(image.transpose(2, 0, 1).astype(np.float32))[None], (height, width)


def original_positions(self, embeddings: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """DINOv2's own interpolation, as Depth Anything V2 configures it: offset 0.1, no antialias."""
    table = self.position_embeddings
    if embeddings.shape[1] == table.shape[1] and height == width:
        return table
    side = math.sqrt(table.shape[1] - 1)
    square = table[:, 1:].reshape(1, int(side), int(side), -1).permute(0, 3, 1, 2)
    scale = ((height // 14 + 0.1) / side, (width // 14 + 0.1) / side)
    grid = interpolate(square, scale_factor=scale, mode="bicubic", antialias=False)
    assert grid.shape[-2:] == (height // 14, width // 14)
    return torch.cat((table[:, :1], grid.permute(0, 2, 3, 1).reshape(1, -1, table.shape[-1])), dim=1)


def transformers_model(state: dict, variant: str) -> DepthAnythingForDepthEstimation:
    width, depth, heads, taps, neck, fusion = SIZES[variant]
    backbone = Dinov2Config(
        image_size=518, patch_size=14, hidden_size=width, num_hidden_layers=depth, num_attention_heads=heads,
        out_indices=taps, reshape_hidden_states=False, apply_layernorm=True,
    )  # fmt: skip
    config = DepthAnythingConfig(
        backbone_config=backbone, reassemble_hidden_size=width, neck_hidden_sizes=neck, fusion_hidden_size=fusion
    )
    named = {}
    for name, value in state.items():
        if ".attn.qkv." in name:
            for part, which in zip(value.chunk(3), ("query", "key", "value"), strict=True):
                named[published(name.replace("attn.qkv", f"attention.attention.{which}"))] = part
        else:
            named[published(name)] = value
    model, info = DepthAnythingForDepthEstimation.from_pretrained(
        None, config=config, state_dict=named, output_loading_info=True
    )
    wrong = {kind: names for kind, names in info.items() if names}
    assert not wrong, wrong
    return model.float().eval()


def published(name: str) -> str:
    """The name of a tensor in the checkpoints that transformers reads."""
    if name.startswith("pretrained."):
        rest = name.removeprefix("pretrained.")
        for old, new in (
            ("patch_embed.proj", "embeddings.patch_embeddings.projection"), ("cls_token", "embeddings.cls_token"),
            ("mask_token", "embeddings.mask_token"), ("pos_embed", "embeddings.position_embeddings"),
            ("blocks.", "encoder.layer."), (".attn.proj", ".attention.output.dense"),
            (".ls1.gamma", ".layer_scale1.lambda1"), (".ls2.gamma", ".layer_scale2.lambda1"),
        ):  # fmt: skip
            rest = rest.replace(old, new)
        return "backbone." + ("layernorm" + rest.removeprefix("norm") if rest.startswith("norm.") else rest)
    kind, _, rest = name.removeprefix("depth_head.").removeprefix("scratch.").partition(".")
    if kind in ("projects", "resize_layers"):
        number, _, leaf = rest.partition(".")
        return f"neck.reassemble_stage.layers.{number}.{'projection' if kind == 'projects' else 'resize'}.{leaf}"
    if kind.endswith("_rn"):
        return f"neck.convs.{int(kind[5]) - 1}.{rest}"
    if kind.startswith("refinenet"):
        for old, new in (("out_conv", "projection"), ("resConfUnit", "residual_layer"), (".conv", ".convolution")):
            rest = rest.replace(old, new)
        return f"neck.fusion_stage.layers.{4 - int(kind[9])}.{rest}"
    if kind == "output_conv1":
        return f"head.conv1.{rest}"
    return f"head.conv{2 + int(rest[0]) // 2}.{rest[2:]}"


if __name__ == "__main__":
    main(*sys.argv[1:])
