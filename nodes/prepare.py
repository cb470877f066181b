"""An image and its mask, fit for FLUX."""

from __future__ import annotations

import comfy.model_management as mm
import torch
from comfy_api.latest import io

from ..systems.common import images
from ..systems.common.sizes import PUBLISHED_SIDE, PUBLISHED_SIZES
from .checked import CheckedNode
from .types import CATEGORY


class Qwen2VLFluxPrepareImage(CheckedNode):
    """An image for img2img, inpainting or hints, and its mask, at a size that FLUX takes."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Qwen2VLFluxPrepareImage",
            display_name="Qwen2VL-Flux Prepare Image",
            category=f"{CATEGORY}/sampling",
            description="Brings an image for img2img or inpainting, and its mask, to a size that FLUX takes, as "
            "published.",
            search_aliases=["resize for flux", "inpaint mask", "img2img size", "1 megapixel", "crop"],
            inputs=[
                io.Image.Input("image", tooltip="Image of any size, or a batch of one size."),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="White is inpainted. Stretched over the image, with one value for each 8×8 pixels; "
                    "hard-edged unless soft_mask is on. If not connected, everything is inpainted.",
                ),
                io.Combo.Input(
                    "aspect_ratio",
                    options=[images.PICTURE, *PUBLISHED_SIZES],
                    optional=True,
                    tooltip="picture keeps the image's own shape and shrinks it if it is too large; the others crop "
                    "its middle to a published size.",
                ),
                io.Int.Input(
                    "size",
                    default=PUBLISHED_SIDE,
                    min=64,
                    max=2048,
                    step=16,
                    optional=True,
                    tooltip="1024 allows 1.05 million pixels as published, and is the side of 1:1; 128 for the demo "
                    "checkpoint.",
                ),
                io.Boolean.Input(
                    "soft_mask",
                    default=False,
                    optional=True,
                    tooltip="Keeps the grey values of the mask, averaged over each 8×8 pixels, for ComfyUI's "
                    "Differential Diffusion on the MODEL: the darker, the later in the sampling and the less is "
                    "inpainted. Off: cut at one half, as published.",
                ),
            ],
            outputs=[
                io.Image.Output("prepared", display_name="image", tooltip="The image for VAE Encode and for hints."),
                io.Mask.Output("prepared_mask", display_name="mask", tooltip="The mask for Set Latent Noise Mask."),
                io.Int.Output("width", tooltip="Width in pixels, a multiple of 16."),
                io.Int.Output("height", tooltip="Height in pixels, a multiple of 16."),
            ],
        )

    @classmethod
    def execute(
        cls,
        image: torch.Tensor,
        mask: torch.Tensor | None = None,
        aspect_ratio: str = images.PICTURE,
        size: int = PUBLISHED_SIDE,
        soft_mask: bool = False,
    ) -> io.NodeOutput:
        prepared = images.prepare(image, aspect_ratio, size)
        _, height, width, _ = prepared.shape
        if mask is None:
            mask = torch.ones(1, height, width)
        else:
            mask = images.prepare_mask(mask, image, aspect_ratio, size, soft_mask)
        place = {"device": mm.intermediate_device(), "dtype": mm.intermediate_dtype()}
        return io.NodeOutput(prepared.to(**place), mask.to(**place), width, height)


NODES = [Qwen2VLFluxPrepareImage]
