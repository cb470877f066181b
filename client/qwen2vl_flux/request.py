"""What a person asks of generate.py, as data. Standard library only."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from pathlib import Path

from systems.common.layout import DEMO
from systems.common.sizes import PUBLISHED_SIDE

from .graph import ANNOTATORS, DEMO_SIDE, PUBLISHED_ANNOTATORS, active_hints

MODES = ("variation", "img2img", "inpaint", "controlnet", "controlnet-inpaint")
# The modes that start from the image's latent, at a strength.
IMG2IMG_MODES = MODES[1:]
INPAINT_MODES = ("inpaint", "controlnet-inpaint")
CONTROLNET_MODES = ("controlnet", "controlnet-inpaint")
# The largest seed of RandomNoise and the largest batch of the pack's nodes.
MAX_SEED, MAX_BATCH = 2**64 - 1, 64
# The image tokens beside a prompt, as published.
PROMPT_BUDGET = 256

Point = tuple[float, float, int]


@dataclass(frozen=True)
class Request:
    """Images to make; the names and defaults are those of the published script.

    dots: JSON text as in the node GridDot Focus. reference_strength: 0 to 1, how much the image that guides
    counts. mask_points: x and y, 0..1 of width and height from the top left, and 1 for what belongs to the object
    or 0 for what does not. batch_size: how many of the images one prompt makes at once; the last prompt makes
    what is left. Prompt i has the seed `seed` + i, for all its images; without one, the first is drawn. line_mode
    and depth_mode: either alone, neither for both. aspect_ratio: without one, variations are square and the other
    modes keep the image's shape. size: side of 1:1 in pixels, else the checkpoint's own. An empty checkpoint is
    the first that the server lists, an empty controlnet, depth_model, line_model or sam2_model the one in the
    checkpoint's folder, or else the first; those of the bundled checkpoint go with it alone. Raises ValueError with
    one sentence when the mode lacks an image or is given one it does not read.
    """

    mode: str
    input_image: Path
    prompt: str = ""
    reference_image: Path | None = None
    mask_image: Path | None = None
    mask_points: tuple[Point, ...] = ()
    dots: str = ""
    image_count: int = 1
    batch_size: int = 1
    seed: int = field(default_factory=lambda: secrets.randbelow(2**32))
    aspect_ratio: str | None = None
    size: int | None = None
    steps: int = 28
    guidance_scale: float = 3.5
    denoise_strength: float = 0.8
    reference_strength: float = 1.0
    line_mode: bool = False
    depth_mode: bool = False
    line_strength: float = 0.4
    depth_strength: float = 0.2
    turbo: bool = False
    as_published: bool = False
    checkpoint: str = ""
    controlnet: str = ""
    depth_model: str = ""
    line_model: str = ""
    sam2_model: str = ""

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ValueError(f"there is no mode {self.mode!r}, only {', '.join(MODES)}")
        if self.mask_image and self.mask_points:
            raise ValueError("mask_image and mask_points are two ways to say what is inpainted; give one of them")
        if self.mask_points and not any(label for _, _, label in self.mask_points):
            raise ValueError("mask_points all have label 0, which says what is not inpainted; add a point with label 1")
        masked = bool(self.mask_image or self.mask_points)
        if self.mode in INPAINT_MODES and not masked:
            raise ValueError(f"the mode {self.mode} needs a mask; give mask_image or mask_points")
        if self.mode not in INPAINT_MODES and masked:
            raise ValueError(
                f"the mode {self.mode} reads no mask; use {' or '.join(INPAINT_MODES)}, or leave the mask out"
            )
        if self.mode == "variation" and self.reference_image:
            raise ValueError("the mode variation reads no reference_image; give that image as input_image")
        if not 1 <= self.batch_size <= max(1, self.image_count):
            raise ValueError(
                f"batch_size is how many of the images one prompt makes; give 1 to image_count, which is "
                f"{self.image_count}, not {self.batch_size}"
            )
        if not 0 <= self.seed <= MAX_SEED - len(self.batches) + 1:
            raise ValueError(f"the seeds of {len(self.batches)} prompts must lie in 0 to {MAX_SEED}, not {self.seed}")

    @property
    def batches(self) -> tuple[int, ...]:
        """How many images each prompt makes."""
        full, rest = divmod(self.image_count, self.batch_size)
        return (self.batch_size,) * full + ((rest,) if rest else ())

    @property
    def annotators(self) -> tuple[str, ...]:
        """The annotators whose maps the ControlNet gets, in the published order."""
        if self.mode not in CONTROLNET_MODES:
            return ()
        chosen = tuple(name for name in ANNOTATORS if getattr(self, f"{name}_mode")) or PUBLISHED_ANNOTATORS
        return active_hints(chosen, masked=self.mode in INPAINT_MODES, as_published=self.as_published)


def default_side(checkpoint: str) -> int:
    """The side in pixels of a checkpoint's square images."""
    return DEMO_SIDE if checkpoint == DEMO.name else PUBLISHED_SIDE


def token_budget(checkpoint: str, prompt: str) -> int:
    """The tokens of an image beside a prompt; 0 is the checkpoint's own number, the only one that `demo` knows."""
    return PROMPT_BUDGET if prompt.strip() and checkpoint != DEMO.name else 0
