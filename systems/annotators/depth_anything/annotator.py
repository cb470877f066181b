"""Depth Anything V2 under ComfyUI's memory management (the graph type ``DEPTH_ANYTHING_V2``)."""

from __future__ import annotations

import logging
from pathlib import Path

import comfy.model_management as mm
import comfy.model_patcher
import comfy.ops
import comfy.utils
import torch
from torch.nn.functional import interpolate

from ...common.comfy.interrupts import interruptible
from ...common.errors import plain
from ...common.images import check_picture
from ...common.opencv_resize import resize_cubic
from ...common.weights.checks import check_state
from ..files import AnnotatorFiles
from ..sizes import reading_size
from .checkpoint import PATCH, UNUSED, Variant, read_depth_anything
from .network import DepthAnythingNetwork

FILES = AnnotatorFiles("depthanything", "depth-anything-v2", "depth_anything_v2_vitl.pth", has_folders=True)

SIDE = 518
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


class DepthAnything:
    """One model, ready to map pictures: float32 pixels in, whatever its weights are stored as."""

    def __init__(self, name: str, variant: Variant, network: DepthAnythingNetwork):
        self.name = name
        self.variant = variant
        self.network = network.eval().requires_grad_(False)
        self.patcher = comfy.model_patcher.CoreModelPatcher(
            network, load_device=mm.get_torch_device(), offload_device=mm.unet_offload_device()
        )

    def depth(self, image: torch.Tensor) -> torch.Tensor:
        """Depth of an IMAGE [B, H, W, C] in 0..1 as [B, H, W, 3], each picture from 0 (far) to 1 (near); a map that is
        the same everywhere is 0."""
        pictures = check_picture(image)
        progress = comfy.utils.ProgressBar(len(pictures))
        maps = []
        for picture in interruptible(pictures):
            pixels = pixels_of(picture)
            mm.load_models_gpu([self.patcher], memory_required=self._memory(*pixels.shape[-2:]))
            depth = self.network(pixels.to(self.patcher.load_device))
            depth = interpolate(depth, picture.shape[:2], mode="bilinear", align_corners=True)[0, 0]
            maps.append(_stretched(depth).to(device=mm.intermediate_device(), dtype=mm.intermediate_dtype()))
            progress.update(1)
        return torch.stack(maps).unsqueeze(-1).repeat(1, 1, 1, 3)

    def _memory(self, height: int, width: int) -> int:
        """Bytes of activations for one picture: the widest of a backbone block, and of the head at full size."""
        patches = height * width // PATCH**2
        backbone = patches * 10 * self.variant.width
        widest = max(self.variant.fusion, self.variant.fusion // 2 + self.variant.head)
        head = patches * 64 * 4 * self.variant.fusion + height * width * widest
        return (backbone + head) * 4


def load_depth_anything(path: Path) -> DepthAnything:
    """The model of a weight file or of a folder in the layout of Hugging Face.

    Raises CheckpointError for the file of another model, and for missing, unknown or misshapen tensors.
    """
    file, variant, state = read_depth_anything(path)
    network = DepthAnythingNetwork(variant, comfy.ops.manual_cast, device="meta")
    expected = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    check_state(file, state, expected, f"Depth Anything V2 {variant.name}", ignored=UNUSED)
    network.load_state_dict({name: state[name] for name in expected}, assign=True)
    mm.archive_model_dtypes(network)
    logging.info("Depth Anything V2 %s: %s", variant.name, plain(file.name))
    return DepthAnything(path.name, variant, network)


def pixels_of(picture: torch.Tensor) -> torch.Tensor:
    """An RGB picture [H, W, 3] in 0..1 as the network reads it [1, 3, h, w]: the preprocessing of the original's
    infer_image."""
    height, width = reading_size(*picture.shape[:2], SIDE, PATCH)
    values = picture.cpu().double().numpy()
    if (height, width) != values.shape[:2]:
        values = resize_cubic(values, width, height)
    return torch.from_numpy((values - MEAN) / STD).movedim(-1, 0)[None].float()


def _stretched(depth: torch.Tensor) -> torch.Tensor:
    low, high = depth.min(), depth.max()
    return (depth - low) / (high - low) if high > low else torch.zeros_like(depth)
