"""Text tokens that live in FLUX's hidden space.

Qwen2VL-Flux sends T5 through a Linear of its own and appends the result after FLUX's context embedder (`txt_in`), so
these tokens cannot travel as ordinary context. Here they ride in the conditioning's `model_conds`; a wrapper on the
MODEL pads the context with as many zero tokens and overwrites them behind `txt_in`. Because an unpatched FLUX would
ignore the extra entry without a word, the conditioning also carries a guard that stops it.
"""

from __future__ import annotations

import comfy.conds
import comfy.model_base
import comfy.patcher_extension as extension
import torch
from comfy.controlnet import ControlBase
from comfy.ldm.flux.model import Flux
from comfy.model_patcher import ModelPatcher

from ..errors import InputError

KEY = "qwen2vl_flux_hidden_tokens"
WRAPPER = extension.WrappersMP.DIFFUSION_MODEL


def patch_model(model: ModelPatcher) -> ModelPatcher:
    """A clone of a FLUX.1 MODEL that understands conditioning made by the Qwen2VL connector."""
    if type(model.model) is not comfy.model_base.Flux or not isinstance(model.model.diffusion_model, Flux):
        kind = type(getattr(model.model, "model_config", model.model)).__name__
        raise InputError(f"The model is a {kind}, and Qwen2VL-Flux works on FLUX.1 only; connect a FLUX.1-dev.")
    patched = model.clone()
    patched.remove_wrappers_with_key(WRAPPER, KEY)
    patched.add_wrapper_with_key(WRAPPER, KEY, _with_hidden_tokens)
    return patched


def attach(conditioning: list, hidden: torch.Tensor) -> list:
    """The conditioning with hidden tokens [B, L, hidden size], and with the guard that an unpatched MODEL meets."""
    attached = []
    for context, options in conditioning:
        conds = {**options.get("model_conds", {}), KEY: comfy.conds.CONDRegular(hidden)}
        guard = PatchedModelGuard().set_previous_controlnet(options.get("control"))
        attached.append([context, {**options, "model_conds": conds, "control": guard}])
    return attached


class PatchedModelGuard(ControlBase):
    """A control that adds nothing and raises InputError when the sampled MODEL would drop the hidden tokens."""

    def get_control(self, x_noisy, t, cond, batched_number, transformer_options):
        if not extension.get_wrappers_with_key(WRAPPER, KEY, transformer_options):
            raise InputError(
                "The conditioning holds a text prompt in Qwen2VL-Flux's own form, which this MODEL would ignore; "
                "put the node Qwen2VL-Flux Patch Model between the model loader and the sampler."
            )
        if self.previous_controlnet is not None:
            return self.previous_controlnet.get_control(x_noisy, t, cond, batched_number, transformer_options)
        return None

    def copy(self) -> PatchedModelGuard:
        twin = PatchedModelGuard()
        self.copy_to(twin)
        return twin

    def deepclone_multigpu(self, load_device, autoregister=False) -> PatchedModelGuard:
        twin = self.copy()
        if autoregister:
            self.multigpu_clones[load_device] = twin
        return twin


def _with_hidden_tokens(
    executor, x, timestep, context, y, guidance, ref_latents, control, transformer_options, **rest
) -> torch.Tensor:
    flux: Flux = executor.class_obj
    hidden = rest.pop(KEY, None)
    if context.shape[-1] != flux.params.context_in_dim:
        raise InputError(
            f"The conditioning is {context.shape[-1]} wide and this FLUX takes {flux.params.context_in_dim}; "
            "load the model and the Qwen2VL encoder from the same checkpoint."
        )
    if y is not None and y.shape[-1] != flux.params.vec_in_dim:
        raise InputError(
            f"The pooled vector is {y.shape[-1]} wide and this FLUX takes {flux.params.vec_in_dim}; load the model and "
            "the text encoders from the same checkpoint."
        )
    if hidden is not None:
        if hidden.shape[-1] != flux.hidden_size:
            raise InputError(
                f"The prompt's tokens are {hidden.shape[-1]} wide and this FLUX works with {flux.hidden_size}; "
                "load the model and the Qwen2VL encoder from the same checkpoint."
            )
        zeroed = ~context.flatten(1).any(dim=1)
        hidden = hidden.masked_fill(zeroed[:, None, None], 0)
        context = torch.cat((context, context.new_zeros(*hidden.shape[:2], context.shape[-1])), dim=1)
        transformer_options = _overwriting(transformer_options, hidden)
    return executor(x, timestep, context, y, guidance, ref_latents, control, transformer_options, **rest)


def _overwriting(transformer_options: dict, hidden: torch.Tensor) -> dict:
    """Transformer options whose first `post_input` patch puts the hidden tokens at the end of the text tokens."""

    def post_input(args: dict) -> dict:
        text = args["txt"]
        kept = text[:, : text.shape[1] - hidden.shape[1]]
        return {**args, "txt": torch.cat((kept, hidden.to(text)), dim=1)}

    patches = transformer_options.get("patches", {})
    return {
        **transformer_options,
        "patches": {**patches, "post_input": [post_input, *patches.get("post_input", [])]},
    }
