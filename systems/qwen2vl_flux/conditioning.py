"""One CONDITIONING out of image tokens, a text prompt and tokens for the ControlNet."""

from __future__ import annotations

import comfy.sd
import torch

from ..common.comfy.attention_bias import log_weights
from ..common.errors import InputError
from .encoder import Qwen2VL
from .patch import attach
from .prompts import encode_prompt
from .tokens import ImageTokens


def build_conditioning(
    qwen2vl: Qwen2VL,
    tokens: ImageTokens,
    prompt: str = "",
    clip: comfy.sd.CLIP | None = None,
    control_tokens: ImageTokens | None = None,
    strength: float = 1.0,
) -> list:
    """ComfyUI's CONDITIONING: context [B, T, 4096] and, with a CLIP, the pooled vector of the empty prompt.

    A prompt joins as hidden tokens, weights of tokens as a bias of attention (see patch and, in systems/common/comfy,
    hidden_tokens and attention_bias). `control_tokens` become the context of ControlNets alone; both are cut to the
    shorter one, as published, unless a focus has dropped tokens of one. `strength` in 0..1 is a weight of all `tokens`
    in FLUX's attention, and in no ControlNet's. Raises InputError when a prompt lacks its encoder.
    """
    if prompt.strip() and clip is None:
        raise InputError("The prompt needs text encoders; connect a CLIP with T5, or clear the prompt.")
    options = {}
    if control_tokens is not None:
        if tokens.is_whole and control_tokens.is_whole:
            common = slice(min(tokens.count, control_tokens.count))
            tokens, control_tokens = tokens.only(common), control_tokens.only(common)
        options["cross_attn_controlnet"] = qwen2vl.connect(control_tokens)
    text = None
    if clip is not None:
        text, options["pooled_output"] = encode_prompt(clip, prompt)
    hidden = None if text is None else qwen2vl.project_text(text)
    bias, control_bias = _bias(tokens.with_strength(strength)), _bias(control_tokens or tokens)
    return attach([[qwen2vl.connect(tokens), options]], hidden, bias, control_bias)


def _bias(tokens: ImageTokens) -> torch.Tensor | None:
    """None where every token has its whole weight."""
    if tokens.weights is None or (tokens.weights == 1).all():
        return None
    return log_weights(tokens.weights)
