"""An image becomes tokens."""

from __future__ import annotations

import torch
from comfy_api.latest import io

from ..systems.qwen2vl_flux.encoder import Qwen2VL
from .checked import CheckedNode
from .types import CATEGORY, Qwen2VLModel, Qwen2VLTokens


class Qwen2VLEncode(CheckedNode):
    """The tokens of a reference image, as Qwen2-VL reads it."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Qwen2VLEncode",
            display_name="Qwen2VL Encode",
            category=CATEGORY,
            description="Reads a reference image of any size into the tokens that will guide FLUX.",
            search_aliases=[
                "image encode",
                "image variation",
                "reference image",
                "image prompt",
                "redux",
                "ip adapter",
            ],
            inputs=[
                Qwen2VLModel.Input("qwen2vl", tooltip="Encoder from Load Qwen2VL Encoder."),
                io.Image.Input("image", tooltip="Reference image or a batch of one size; give the original, unscaled."),
                io.Int.Input(
                    "token_budget",
                    default=0,
                    min=0,
                    max=16384,
                    tooltip="About how many tokens the image becomes. 0 is the checkpoint's own number (512 as "
                    "published); the published setting with a text prompt is 256.",
                ),
            ],
            outputs=[Qwen2VLTokens.Output("tokens", tooltip="Tokens for GridDot Focus or Qwen2VL Connector.")],
        )

    @classmethod
    def execute(cls, qwen2vl: Qwen2VL, image: torch.Tensor, token_budget: int) -> io.NodeOutput:
        return io.NodeOutput(qwen2vl.encode(image, token_budget))


NODES = [Qwen2VLEncode]
