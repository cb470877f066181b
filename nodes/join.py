"""Several reference images guide together."""

from __future__ import annotations

from comfy_api.latest import io

from ..systems.qwen2vl_flux.tokens import ImageTokens, concat_tokens
from .checked import CheckedNode
from .types import CATEGORY, Qwen2VLTokens


class Qwen2VLJoinTokens(CheckedNode):
    """The tokens of two reference images one after the other."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Qwen2VLJoinTokens",
            display_name="Qwen2VL Join Tokens",
            category=CATEGORY,
            description="Puts the tokens of two reference images together, so that both guide the result.",
            search_aliases=["qwen2vl", "several references", "multiple images", "concat tokens", "mix images"],
            inputs=[
                Qwen2VLTokens.Input(
                    "tokens_1", tooltip="Tokens of the first image, from Qwen2VL Encode or GridDot Focus."
                ),
                Qwen2VLTokens.Input(
                    "tokens_2", tooltip="Tokens of the second image, of the same checkpoint; join again for a third."
                ),
            ],
            outputs=[
                Qwen2VLTokens.Output(
                    "tokens",
                    display_name="tokens",
                    tooltip="All tokens for Qwen2VL Connector, those of the first image first.",
                )
            ],
        )

    @classmethod
    def execute(cls, tokens_1: ImageTokens, tokens_2: ImageTokens) -> io.NodeOutput:
        return io.NodeOutput(concat_tokens(tokens_1, tokens_2))


NODES = [Qwen2VLJoinTokens]
