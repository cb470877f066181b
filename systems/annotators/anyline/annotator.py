"""AnyLine under ComfyUI's memory management (the graph type ``ANYLINE``): edges of a TEED network joined with the dark
lines of the picture, as controlnet-aux 0.0.10 computes them (AnylineDetector, after TheMistoAI/ComfyUI-Anyline)."""

from __future__ import annotations

import logging
from pathlib import Path

import comfy.model_management as mm
import comfy.model_patcher
import comfy.ops
import comfy.utils
import numpy as np
import torch
from torch.nn.functional import pad

from ...common.comfy.interrupts import interruptible
from ...common.errors import plain
from ...common.images import check_picture, to_uint8
from ...common.opencv_resize import resize_area, resize_lanczos, resize_linear
from ..files import AnnotatorFiles
from ..sizes import reading_size
from .checkpoint import read_anyline
from .network import AnyLineNetwork

FILES = AnnotatorFiles("anyline", "anyline", "MTEED.pth", has_folders=False)

RESOLUTION = 1280
STEP = 64
BLUR, RADIUS = 2.0, 8
FAINT = 3
# The floats of activations for each pixel of the image as it is read; 135 were measured.
FLOATS = 160

# The pixels of the smallest dark line that is kept. The published 36 counts each pixel in three equal channels.
SMALLEST = 12


class AnyLine:
    """The detector, ready to map pictures."""

    def __init__(self, name: str, network: AnyLineNetwork):
        self.name = name
        self.network = network.eval().requires_grad_(False)
        self.patcher = comfy.model_patcher.CoreModelPatcher(
            network, load_device=mm.get_torch_device(), offload_device=mm.unet_offload_device()
        )

    def lines(self, image: torch.Tensor, resolution: int = RESOLUTION) -> torch.Tensor:
        """White lines on black [B, H, W, 3] of an IMAGE [B, H, W, C] in 0..1, found at `resolution` pixels along the
        shorter side."""
        pictures = check_picture(image)
        progress = comfy.utils.ProgressBar(len(pictures))
        maps = []
        for picture in interruptible(pictures):
            maps.append(torch.from_numpy(self._lines(to_uint8(picture), resolution)).float() / 255)
            progress.update(1)
        lines = torch.stack(maps).to(device=mm.intermediate_device(), dtype=mm.intermediate_dtype())
        return lines.repeat(1, 1, 1, 3)

    def _lines(self, picture: np.ndarray, resolution: int) -> np.ndarray:
        """One picture uint8 [H, W, 3] as its lines uint8 [H, W, 1]."""
        height, width = picture.shape[:2]
        rows, columns = reading_size(height, width, resolution, STEP)
        resize = resize_lanczos if resolution > min(height, width) else resize_area
        read = resize(picture, columns, rows)
        edges = self._edges(read)
        mm.throw_exception_if_processing_interrupted()
        return resize_linear(joined(edges, dark_lines(read))[..., None], width, height)

    def _edges(self, picture: np.ndarray) -> np.ndarray:
        """The network's edges in three steps, uint8 [H, W]: 0, 127 and 255."""
        height, width = picture.shape[:2]
        mm.load_models_gpu([self.patcher], memory_required=height * width * FLOATS * 4)
        pixels = torch.from_numpy(picture).to(self.patcher.load_device).float().movedim(-1, 0)[None]
        logits = self.network(pixels)[0].cpu().numpy()
        edges = 1 / (1 + np.exp(-logits.mean(axis=0).astype(np.float64)))
        steps = (edges.astype(np.float32) * 3).astype(np.int32) / np.float32(2)
        return (steps * 255).clip(0, 255).astype(np.uint8)


def load_anyline(path: Path) -> AnyLine:
    """The detector of a weight file; raises CheckpointError for another model and for wrong tensors."""
    network = AnyLineNetwork(comfy.ops.manual_cast, device="meta")
    state = read_anyline(path, {name: tuple(value.shape) for name, value in network.state_dict().items()})
    network.load_state_dict(state, assign=True)
    mm.archive_model_dtypes(network)
    logging.info("AnyLine: %s", plain(path.name))
    return AnyLine(path.name, network)


def dark_lines(picture: np.ndarray) -> np.ndarray:
    """What is darker than its surroundings in all channels of uint8 [H, W, 3], without small spots; uint8 [H, W]."""
    from scipy.ndimage import label

    values = torch.from_numpy(picture).float().movedim(-1, 0)
    darker = (_blurred(values) - values).amin(dim=0).clamp(0, 255).numpy()
    lines = darker[darker > FAINT]
    darker /= max(16, np.median(lines)) if lines.size else 16
    found = (darker * 127).clip(0, 255).astype(np.uint8)
    spots, _ = label(found)
    return found * (np.bincount(spots.ravel()) >= SMALLEST)[spots]


def joined(edges: np.ndarray, lines: np.ndarray) -> np.ndarray:
    """Edges and lines, uint8 [H, W], by 1 - (1 - edges)(1 - lines) where there are lines: on bytes that wrap around, as
    the published code has it, so that a line over an edge comes out in any grey."""
    return np.where(lines > 0, 1 - (1 - lines) * (1 - edges), edges)


def _blurred(values: torch.Tensor) -> torch.Tensor:
    """OpenCV's Gaussian blur of float32 [C, H, W] at sigma 2, to the bit where the processor has fused multiply-add."""
    kernel = np.exp(-0.5 * (np.arange(-RADIUS, RADIUS + 1) / BLUR) ** 2)
    kernel = (kernel / kernel.sum()).astype(np.float32).tolist()
    _, height, width = values.shape
    wide = pad(values[None], (RADIUS, RADIUS, 0, 0), mode="reflect")[0]
    rows = torch.zeros_like(values)
    for offset, weight in enumerate(kernel):
        rows.add_(wide[:, :, offset : offset + width], alpha=weight)
    tall = pad(rows[None], (0, 0, RADIUS, RADIUS), mode="reflect")[0]
    blurred = rows * kernel[RADIUS]
    for offset in range(1, RADIUS + 1):
        above, below = (tall[:, RADIUS + sign * offset :][:, :height] for sign in (-1, 1))
        blurred.add_(above + below, alpha=kernel[RADIUS + offset])
    return blurred
