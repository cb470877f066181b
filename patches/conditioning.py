"""One CONDITIONING out of image tokens, a text prompt and tokens for the ControlNet."""

from __future__ import annotations

import comfy.sd

from ..errors import InputError
from ..models.qwen2vl import Qwen2VL
from ..tokens import ImageTokens
from . import hidden_tokens
from .prompts import encode_prompt


def conditioning_of(
    qwen2vl: Qwen2VL,
    tokens: ImageTokens,
    prompt: str = "",
    clip: comfy.sd.CLIP | None = None,
    control_tokens: ImageTokens | None = None,
) -> list:
    """ComfyUI's CONDITIONING: context [B, T, 4096] and, with a CLIP, the pooled vector of the empty prompt.

    A prompt joins as hidden tokens (see hidden_tokens). `control_tokens` become the context of ControlNets alone;
    both contexts are cut to the shorter one, as published, unless a focus has dropped tokens of one. Raises
    InputError when a prompt lacks its encoder.
    """
    if prompt.strip() and clip is None:
        raise InputError("The prompt needs text encoders; connect a CLIP with T5, or clear the prompt.")
    context, options = qwen2vl.connect(tokens), {}
    if control_tokens is not None:
        control = qwen2vl.connect(control_tokens)
        if tokens.is_whole and control_tokens.is_whole:
            length = min(context.shape[1], control.shape[1])
            context, control = context[:, :length], control[:, :length]
        options["cross_attn_controlnet"] = control
    text = None
    if clip is not None:
        text, options["pooled_output"] = encode_prompt(clip, prompt)
    conditioning = [[context, options]]
    return conditioning if text is None else hidden_tokens.attach(conditioning, qwen2vl.project_text(text))
