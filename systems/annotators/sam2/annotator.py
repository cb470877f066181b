"""SAM 2 and 2.1 under ComfyUI's memory management (the graph type ``SAM2``).

The network is transformers' Sam2Model with Meta's weights; what goes in and comes out is Meta's SAM2ImagePredictor
(facebookresearch/sam2), without its optional filling of holes.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import comfy.model_management as mm
import comfy.model_patcher
import comfy.utils
import torch

from ...common.comfy.interrupts import interruptible
from ...common.errors import CheckpointError, plain
from ...common.images import check_picture
from ..files import AnnotatorFiles
from .checkpoint import Sam2Weights, Variant, read_sam2
from .overlay import overlay
from .points import Box, Point, Prompt, prompts_of

FILES = AnnotatorFiles("sam2", "segment-anything-2", "sam2_hiera_large.pt", has_folders=True)

# The side in pixels of the square that every image is stretched to.
SIDE = 1024

# The labels of a box's corners; those of points are 1 and 0.
UPPER_LEFT, LOWER_RIGHT = 2, 3

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
CANDIDATES = ("best", "all")
# The masks that the model makes of each prompt.
PROPOSED = 3


@dataclass(frozen=True)
class Segmentation:
    """masks: [N, H, W] of 0 and 1; overlays: [N, H, W, 3], the picture with its mask and prompts drawn in; scores: N,
    what the model believes its mask's overlap (IoU) with the truth to be, about 0..1. Tensors of ComfyUI's intermediate
    type."""

    masks: torch.Tensor
    overlays: torch.Tensor
    scores: list[float]


class _Candidate(NamedTuple):
    """A mask bool [H, W], its score, and the points and boxes that asked for it."""

    mask: torch.Tensor
    score: float
    points: Sequence[Point]
    boxes: Sequence[Box]


class Sam2:
    """One model, ready to segment pictures."""

    def __init__(self, name: str, variant: Variant, network: torch.nn.Module):
        self.name = name
        self.variant = variant
        self.network = network
        self.patcher = comfy.model_patcher.CoreModelPatcher(
            network, load_device=mm.get_torch_device(), offload_device=mm.unet_offload_device()
        )

    def segment(
        self, image: torch.Tensor, points: Sequence[Point], boxes: Sequence[Box], candidates: str = "best"
    ) -> Segmentation:
        """Masks of an IMAGE [B, H, W, C] in 0..1.

        best: one mask for each picture, the union over its boxes of the candidate with the highest score; its score is
        the lowest of these. all: for each picture and each box the three candidates, highest score first.
        Raises InputError for what is no picture, and when neither a point nor a box says what to keep.
        """
        pictures = check_picture(image)
        prompts = prompts_of(points, boxes)
        progress = comfy.utils.ProgressBar(len(pictures) * (1 + len(prompts)))
        best = candidates == "best"
        count = len(pictures) * (1 if best else PROPOSED * len(prompts))
        form = {"device": mm.intermediate_device(), "dtype": mm.intermediate_dtype()}
        masks = torch.empty(count, *pictures.shape[1:3], **form)
        overlays = torch.empty(*masks.shape, 3, **form)
        scores: list[float] = []
        for picture in interruptible(pictures):
            found = self._candidates(picture, prompts, 1 if best else PROPOSED, progress)
            if best:
                found = [functools.reduce(_united, found)._replace(points=points, boxes=boxes)]
            for candidate in interruptible(found):
                drawn = overlay(picture.to(masks.device), candidate.mask.float(), candidate.points, candidate.boxes)
                masks[len(scores)], overlays[len(scores)] = candidate.mask, drawn
                scores.append(candidate.score)
        return Segmentation(masks, overlays, scores)

    def embed(self, pixels: torch.Tensor) -> list[torch.Tensor]:
        """Embeddings of pixels [1, 3, 1024, 1024] from `pixels_of`, as `logits` wants them."""
        mm.load_models_gpu([self.patcher], memory_required=self._memory())
        return self.network.model.get_image_embeddings(pixels.to(self.patcher.load_device))

    def logits(self, embeddings: list[torch.Tensor], prompt: Prompt) -> tuple[torch.Tensor, torch.Tensor]:
        """The three candidates of a prompt: mask logits [3, 256, 256], above 0 inside, and scores [3]."""
        places = [(point.x, point.y, point.label) for point in prompt.points]
        if prompt.box:
            # as Meta's predictor does; transformers 4.56 leaves a token out for its own boxes
            box = prompt.box
            places = [(box.x0, box.y0, UPPER_LEFT), (box.x1, box.y1, LOWER_RIGHT), *places]
        given = torch.tensor(places, device=self.patcher.load_device)[None, None]
        found = self.network.model(
            image_embeddings=embeddings,
            input_points=given[..., :2] * SIDE,
            input_labels=given[..., 2].int(),
            multimask_output=True,
        )
        return found.pred_masks[0, 0], found.iou_scores[0, 0]

    def _candidates(
        self, picture: torch.Tensor, prompts: Sequence[Prompt], count: int, progress: comfy.utils.ProgressBar
    ) -> Iterator[_Candidate]:
        """For each prompt the `count` candidates of one picture [H, W, 3] with the highest scores, best first."""
        embeddings = self.embed(pixels_of(picture))
        progress.update(1)
        for prompt in interruptible(prompts):
            logits, scores = self.logits(embeddings, prompt)
            order = scores.argsort(descending=True, stable=True)[:count]
            masks = (at_picture_size(logits[order], *picture.shape[:2]) > 0).to(mm.intermediate_device())
            for mask, score in zip(masks, scores[order].tolist(), strict=True):
                yield _Candidate(mask, score, prompt.points, [prompt.box] if prompt.box else [])
            progress.update(1)

    def _memory(self) -> int:
        """Bytes of activations for one picture, at 256 x 256 places: queries, keys, values and the hidden values of the
        first stage's MLP, and the neck's maps. Measured: 0.53 GB for tiny, 0.49 GB for large."""
        return (SIDE // 4) ** 2 * (8 * self.variant.width + 1280) * 4


def _united(one: _Candidate, other: _Candidate) -> _Candidate:
    return one._replace(mask=one.mask | other.mask, score=min(one.score, other.score))


def pixels_of(picture: torch.Tensor) -> torch.Tensor:
    """A picture [H, W, 3] in 0..1 as SAM 2 reads it, [1, 3, 1024, 1024]: SAM2Transforms of facebookresearch/sam2, which
    stretches floats with an antialiased bilinear filter. The processor of transformers does that on 8-bit values
    instead and changes the logits by about 1e-3."""
    upright = picture.float().movedim(-1, 0)[None]
    square = torch.nn.functional.interpolate(upright, (SIDE, SIDE), mode="bilinear", antialias=True)
    mean, std = (torch.tensor(values, device=square.device)[:, None, None] for values in (MEAN, STD))
    return (square - mean) / std


def at_picture_size(logits: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Mask logits [N, 256, 256] as [N, height, width], bilinear as Meta's predictor does it."""
    return torch.nn.functional.interpolate(logits[None], (height, width), mode="bilinear", align_corners=False)[0]


def load_sam2(path: Path) -> Sam2:
    """The model of a file (see `read_sam2`), its variant found from the shapes of its tensors.

    Raises CheckpointError for what is not SAM 2, and when the installed transformers does not know SAM 2 yet.
    """
    weights = read_sam2(path)
    network = _Network(_transformers_model(weights))
    logging.info("SAM%s %s from %s", weights.version, weights.variant.name, plain(path.name))
    return Sam2(path.name, weights.variant, network.eval().requires_grad_(False))


class _Network(torch.nn.Module):
    """Holds the model for a ModelPatcher, which sets an attribute that transformers' classes forbid to set."""

    def __init__(self, model: torch.nn.Module):
        super().__init__()
        self.model = model
        # Only a video needs these; transformers would keep 64 MB of them in a cache of its own, on the GPU.
        model.vision_encoder.neck.position_encoding = _NoPositions()
        for block in model.vision_encoder.backbone.blocks:
            block.register_forward_pre_hook(_stop_if_interrupted)


class _NoPositions(torch.nn.Module):
    def forward(self, shape: torch.Size, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
        return torch.empty(shape[0], 0, 1, 1, device=device, dtype=dtype)


def _stop_if_interrupted(*_: object) -> None:
    """As the layers of comfy.ops do by themselves."""
    mm.throw_exception_if_processing_interrupted()


def _transformers_model(weights: Sam2Weights) -> torch.nn.Module:
    try:
        from transformers import Sam2Config, Sam2HieraDetConfig, Sam2Model, Sam2VisionConfig
    except ImportError:
        raise CheckpointError(
            "SAM 2 needs the package transformers 4.56 or newer, and this ComfyUI has an older one; update it with "
            "pip install --upgrade transformers."
        ) from None
    variant = weights.variant
    backbone = Sam2HieraDetConfig(
        hidden_size=variant.width,
        num_attention_heads=variant.heads,
        blocks_per_stage=list(variant.blocks),
        embed_dim_per_stage=list(variant.widths),
        num_attention_heads_per_stage=[variant.heads << stage for stage in range(4)],
        window_size_per_stage=list(variant.windows),
        global_attention_blocks=list(variant.global_blocks),
        window_positional_embedding_background_size=[variant.background] * 2,
    )
    vision = Sam2VisionConfig(backbone_config=backbone, backbone_channel_list=list(reversed(variant.widths)))
    # through the names of published checkpoints, since those inside transformers change
    with _no_progress_bar():
        model, report = Sam2Model.from_pretrained(
            None,
            config=Sam2Config(vision_config=vision),
            state_dict=weights.state,
            dtype=torch.float32,
            output_loading_info=True,
        )
    unplaced = [name for kind in ("missing_keys", "unexpected_keys", "mismatched_keys") for name in report[kind]]
    if unplaced:
        raise CheckpointError(
            f"The installed transformers has no place for {len(unplaced)} of SAM 2's tensors (such as {unplaced[0]}); "
            "install a version that ComfyUI's requirements.txt names."
        )
    return model


@contextmanager
def _no_progress_bar() -> Iterator[None]:
    """transformers would draw one of less than a second into ComfyUI's console."""
    from transformers.utils import logging as transformers_logging

    shown = transformers_logging.is_progress_bar_enabled()
    if shown:
        transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()
