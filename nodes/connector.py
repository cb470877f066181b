"""Tokens become conditioning for FLUX."""

from __future__ import annotations

import comfy.sd
from comfy_api.latest import io

from ..systems.qwen2vl_flux.conditioning import build_conditioning
from ..systems.qwen2vl_flux.encoder import Qwen2VL
from ..systems.qwen2vl_flux.tokens import ImageTokens
from .checked import CheckedNode
from .types import CATEGORY, Qwen2VLModel, Qwen2VLTokens


class Qwen2VLConnector(CheckedNode):
    """The conditioning that sampling gets: image tokens, and a text prompt if there is one."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Qwen2VLConnector",
            display_name="Qwen2VL Connector",
            category=CATEGORY,
            description="Turns the tokens of the reference image, and a text prompt if there is one, into "
            "conditioning for FLUX.",
            search_aliases=["image conditioning", "image prompt", "prompt_embeds"],
            inputs=[
                Qwen2VLModel.Input("qwen2vl", tooltip="The encoder that made the tokens."),
                Qwen2VLTokens.Input(
                    "tokens", tooltip="Tokens from Qwen2VL Encode, GridDot Focus or Qwen2VL Join Tokens."
                ),
                io.Clip.Input(
                    "clip",
                    optional=True,
                    tooltip="Text encoders: CLIP-L gives the pooled vector that the published model always gets, T5 "
                    "reads the prompt. If not connected, that vector is zero and images stray from the published ones.",
                ),
                io.String.Input(
                    "prompt",
                    default="",
                    multiline=True,
                    dynamic_prompts=True,
                    tooltip="Text that joins the image, 256 T5 tokens at most, the rest is cut; needs T5. Empty: the "
                    "image alone.",
                ),
                Qwen2VLTokens.Input(
                    "control_tokens",
                    optional=True,
                    tooltip="Tokens of another image for the ControlNet alone; both are cut to the shorter length, "
                    "unless mode drop or Qwen2VL Join Tokens has changed one of them.",
                ),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    optional=True,
                    tooltip="How strongly the reference image counts: the weight of its tokens in FLUX's attention. 1 "
                    "as published; lower leaves more to the prompt, to ControlNets and to FLUX itself. ControlNets see "
                    "the whole image at any strength.",
                ),
            ],
            outputs=[io.Conditioning.Output(tooltip="Conditioning for FluxGuidance and any native sampler.")],
        )

    @classmethod
    def execute(
        cls,
        qwen2vl: Qwen2VL,
        tokens: ImageTokens,
        prompt: str = "",
        clip: comfy.sd.CLIP | None = None,
        control_tokens: ImageTokens | None = None,
        strength: float = 1.0,
    ) -> io.NodeOutput:
        return io.NodeOutput(build_conditioning(qwen2vl, tokens, prompt, clip, control_tokens, strength))


NODES = [Qwen2VLConnector]
