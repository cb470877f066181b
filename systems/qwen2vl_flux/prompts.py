"""Text prompts through a native CLIP, as Qwen2VL-Flux reads them."""

from __future__ import annotations

import logging

import comfy.sd
import torch

from ..common.errors import InputError

T5_TOKENS = 256
PAD = (0, 1.0)


def encode_prompt(clip: comfy.sd.CLIP, prompt: str) -> tuple[torch.Tensor | None, torch.Tensor]:
    """T5 embeddings [1, 256, 4096] of the prompt, None for a blank one, and CLIP-L's pooled vector [1, 768].

    The pooled vector is always that of the empty prompt, unprojected. T5 sees exactly 256 tokens: padded without a
    mask, cut with its end token kept. Brackets weight words as everywhere in ComfyUI, (like this:1.2).
    Raises InputError when the CLIP lacks the encoder that is needed.
    """
    tokens = clip.tokenize("")
    if "l" not in tokens:
        raise InputError(
            f"The connected text encoder ({', '.join(tokens)}) has no CLIP-L; load FLUX's CLIP-L, with T5 for a prompt."
        )
    if not prompt.strip():
        _, pooled = clip.encode_from_tokens(tokens, return_pooled="unprojected")
        return None, pooled
    if "t5xxl" not in tokens:
        raise InputError(
            "The prompt needs T5, and only CLIP-L is loaded; switch t5 on in Load Qwen2VL-Flux Text Encoders, or clear "
            "the prompt."
        )
    tokens["t5xxl"] = [_exactly(T5_TOKENS, [pair for part in clip.tokenize(prompt)["t5xxl"] for pair in part])]
    return clip.encode_from_tokens(tokens, return_pooled="unprojected")


def _exactly(count: int, pairs: list[tuple]) -> list[tuple]:
    """Token and weight pairs, padded or cut to `count`; a cut keeps the end token."""
    if len(pairs) > count:
        logging.warning(
            "Qwen2VL-Flux reads %d T5 tokens; the rest of the prompt (%d) is cut.", count, len(pairs) - count
        )
        return [*pairs[: count - 1], pairs[-1]]
    return [*pairs, *[PAD] * (count - len(pairs))]
