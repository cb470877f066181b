"""Sizes and schedules of the published pipelines."""

from __future__ import annotations

import comfy.model_management as mm
import torch
from comfy_api.latest import io

from ..systems.common.errors import InputError
from ..systems.common.schedules import flux_sigmas
from ..systems.common.sizes import PUBLISHED_SIDE, PUBLISHED_SIZES, output_size
from ..systems.qwen2vl_flux.noise import PureNoise
from .checked import CheckedNode
from .types import CATEGORY

SAMPLING = f"{CATEGORY}/sampling"
# The layout of FLUX's latents: the channels of each, and the pixels of the image along either side of it.
LATENT_CHANNELS, PIXELS_PER_LATENT = 16, 8


class Qwen2VLFluxSize(CheckedNode):
    """An empty latent at one of the published sizes."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Qwen2VLFluxSize",
            display_name="Qwen2VL-Flux Size",
            category=SAMPLING,
            description="An empty latent in one of the six published aspect ratios.",
            search_aliases=["empty latent", "aspect ratio", "resolution"],
            inputs=[
                io.Combo.Input(
                    "aspect_ratio",
                    options=list(PUBLISHED_SIZES),
                    tooltip="Shape of the image; at size 1024: "
                    + ", ".join(f"{name} {width}×{height}" for name, (width, height) in PUBLISHED_SIZES.items()),
                ),
                io.Int.Input("batch_size", default=1, min=1, max=64, tooltip="How many variations at once."),
                io.Int.Input(
                    "size",
                    default=PUBLISHED_SIDE,
                    min=64,
                    max=2048,
                    step=16,
                    optional=True,
                    tooltip="Side of the 1:1 image in pixels, the other shapes scale along: 1024 as published, 128 "
                    "for the demo checkpoint.",
                ),
            ],
            outputs=[
                io.Latent.Output("latent", tooltip="Empty latent for the sampler and for Qwen2VL-Flux Sigmas."),
                io.Int.Output("width", tooltip="Width in pixels."),
                io.Int.Output("height", tooltip="Height in pixels."),
            ],
        )

    @classmethod
    def execute(cls, aspect_ratio: str, batch_size: int, size: int = PUBLISHED_SIDE) -> io.NodeOutput:
        width, height = output_size(aspect_ratio, size)
        shape = (batch_size, LATENT_CHANNELS, height // PIXELS_PER_LATENT, width // PIXELS_PER_LATENT)
        samples = torch.zeros(shape, device=mm.intermediate_device(), dtype=mm.intermediate_dtype())
        return io.NodeOutput({"samples": samples, "downscale_ratio_spacial": PIXELS_PER_LATENT}, width, height)


class Qwen2VLFluxSigmas(CheckedNode):
    """The noise schedule of the published pipelines, which no native scheduler gives exactly."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Qwen2VLFluxSigmas",
            display_name="Qwen2VL-Flux Sigmas",
            category=SAMPLING,
            description="The exact noise schedule of the published pipelines for a latent's size and any strength.",
            search_aliases=["flux scheduler", "denoise", "sigmas", "img2img strength"],
            inputs=[
                io.Int.Input(
                    "steps",
                    default=28,
                    min=1,
                    max=10000,
                    tooltip="Steps at strength 1; 28 as published, 20 are enough for demo.",
                ),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="1 starts from pure noise; below, only the last fraction of the steps runs and more of the "
                    "latent's image stays. The published default for img2img is 0.8.",
                ),
                io.Latent.Input(
                    "latent", tooltip="The latent that will be sampled; its size sets the schedule's shift."
                ),
            ],
            outputs=[io.Sigmas.Output(tooltip="Sigmas for SamplerCustomAdvanced.")],
        )

    @classmethod
    def execute(cls, steps: int, strength: float, latent: dict) -> io.NodeOutput:
        samples = latent["samples"]
        if samples.ndim != 4:
            raise InputError(
                f"The latent has the shape {list(samples.shape)}, not batch, channels, height, width; connect the "
                "latent of one image or a batch of images."
            )
        height, width = (edge * PIXELS_PER_LATENT for edge in samples.shape[-2:])
        return io.NodeOutput(torch.from_numpy(flux_sigmas(steps, strength, width, height)))


class Qwen2VLFluxPureNoise(CheckedNode):
    """Noise at full strength wherever a schedule begins, as the published ControlNet mode has it."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Qwen2VLFluxPureNoise",
            display_name="Qwen2VL-Flux Pure Noise",
            category=SAMPLING,
            description="Starts an empty latent from pure noise in the middle of a schedule. The published ControlNet "
            "mode does so at every strength, so that the image itself never enters.",
            search_aliases=["published controlnet", "noise start"],
            inputs=[
                io.Noise.Input("noise", tooltip="Noise from RandomNoise."),
                io.Sigmas.Input("sigmas", tooltip="The sigmas that will be sampled; their first one counts."),
            ],
            outputs=[io.Noise.Output(tooltip="Noise for SamplerCustomAdvanced with an empty latent.")],
        )

    @classmethod
    def execute(cls, noise, sigmas: torch.Tensor) -> io.NodeOutput:
        return io.NodeOutput(PureNoise(noise, sigmas))


NODES = [Qwen2VLFluxSize, Qwen2VLFluxSigmas, Qwen2VLFluxPureNoise]
