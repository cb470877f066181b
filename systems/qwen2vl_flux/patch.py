"""How a native FLUX.1 MODEL takes what a conditioning of Qwen2VL-Flux carries beside its context.

Text tokens in hidden space are inserted behind FLUX's context embedder, weights of tokens become a bias of its
attention. A conditioning that ConditioningZeroOut has zeroed has its prompt zeroed too.
"""

from __future__ import annotations

import comfy.model_base
import torch
from comfy.ldm.flux.model import Flux
from comfy.model_patcher import ModelPatcher

from ..common.comfy.attention_bias import CONTROL_TOKEN_BIAS, TOKEN_BIAS, TokenAttentionBias
from ..common.comfy.carry import Carrier
from ..common.comfy.hidden_tokens import (
    HIDDEN_TOKENS,
    InsertHiddenTokens,
    pad_attention_mask,
    pad_context,
    zero_where_zeroed,
)
from ..common.comfy.native_flux import check_widths, own_blocks
from ..common.comfy.patches import with_patch
from ..common.errors import InputError

CARRIER = Carrier(
    key="qwen2vl_flux",
    required=frozenset({HIDDEN_TOKENS, TOKEN_BIAS}),
    unpatched="The conditioning holds a text prompt, a focus or a strength below 1 in Qwen2VL-Flux's own form, which "
    "this MODEL would ignore; put the node Qwen2VL-Flux Patch Model between the model loader and the sampler.",
    lost="This MODEL does not run FLUX's own forward pass with its wrappers, and its patches in every block, and would "
    "ignore the prompt, the focus or the strength; take out the node that replaces FLUX or parts of it, or clear the "
    "prompt, use mode scale and set strength to 1.",
)


def patch_model(model: ModelPatcher) -> ModelPatcher:
    """A clone of a FLUX.1 MODEL that understands conditioning made by the Qwen2VL connector."""
    if type(model.model) is not comfy.model_base.Flux or not isinstance(model.model.diffusion_model, Flux):
        kind = type(getattr(model.model, "model_config", model.model)).__name__
        raise InputError(f"The model is a {kind}, and Qwen2VL-Flux works on FLUX.1 only; connect a FLUX.1-dev.")
    return CARRIER.patch(model, _insert_carried)


def attach(
    conditioning: list,
    hidden: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    control_bias: torch.Tensor | None = None,
) -> list:
    """The conditioning with what it carries for a patched MODEL; itself when that is nothing.

    hidden: text tokens [B, L, hidden size]; bias: of the context's first tokens [B, T] (see attention_bias);
    control_bias: the same for the context that ControlNets see.
    """
    return CARRIER.attach(conditioning, {HIDDEN_TOKENS: hidden, TOKEN_BIAS: bias, CONTROL_TOKEN_BIAS: control_bias})


def _insert_carried(
    executor, x, timestep, context, y, guidance, ref_latents, control, transformer_options, **rest
) -> torch.Tensor:
    """Around FLUX's forward: what the conditioning carries becomes patches of its text input and of its attention."""
    hidden, bias, _ = (rest.pop(name, None) for name in (HIDDEN_TOKENS, TOKEN_BIAS, CONTROL_TOKEN_BIAS))
    check_widths("this FLUX", executor.class_obj, context, y, hidden)
    patches, options = {}, transformer_options
    if hidden is not None:
        patches[HIDDEN_TOKENS] = InsertHiddenTokens(zero_where_zeroed(hidden, context))
        options = with_patch(options, "post_input", patches[HIDDEN_TOKENS], first=True)
        if rest.get("attention_mask") is not None:
            rest["attention_mask"] = pad_attention_mask(rest["attention_mask"], context.shape[1], hidden.shape[1])
        context = pad_context(context, hidden)
    if bias is not None:
        patches[TOKEN_BIAS] = TokenAttentionBias(bias, blocks=own_blocks(executor.class_obj, transformer_options))
        options = with_patch(options, "attn1_patch", patches[TOKEN_BIAS])
    out = executor(x, timestep, context, y, guidance, ref_latents, control, options, **rest)
    for name, patch in patches.items():
        if patch.done:
            CARRIER.confirm(transformer_options, name)
    return out
