"""What a conditioning carries for FLUX beside its context, and how a native MODEL comes to take it.

Text tokens in hidden space and the bias of image tokens ride in the conditioning's `model_conds`; wrappers on the MODEL
put each where it belongs and make sure that it got there. Because an unpatched FLUX would ignore them without a word,
the conditioning also carries a guard that stops it.

A conditioning that ConditioningZeroOut has zeroed has its prompt zeroed too.
"""

from __future__ import annotations

import contextlib
import logging

import comfy.conds
import comfy.model_base
import comfy.model_patcher
import comfy.patcher_extension as extension
import torch
from comfy.controlnet import ControlBase
from comfy.ldm.flux.model import Flux
from comfy.model_patcher import ModelPatcher
from comfy_api.torch_helpers.torch_compile import COMPILE_KEY

from ..common.comfy.attention_bias import TokenAttentionBias
from ..common.errors import InputError
from .hidden_tokens import InsertHiddenTokens, pad_attention_mask, pad_context, zero_where_zeroed

HIDDEN = "qwen2vl_flux_hidden_tokens"
BIAS = "qwen2vl_flux_token_bias"
CONTROL_BIAS = "qwen2vl_flux_control_token_bias"
KEY = "qwen2vl_flux"


def patch_model(model: ModelPatcher) -> ModelPatcher:
    """A clone of a FLUX.1 MODEL that understands conditioning made by the Qwen2VL connector."""
    if type(model.model) is not comfy.model_base.Flux or not isinstance(model.model.diffusion_model, Flux):
        kind = type(getattr(model.model, "model_config", model.model)).__name__
        raise InputError(f"The model is a {kind}, and Qwen2VL-Flux works on FLUX.1 only; connect a FLUX.1-dev.")
    patched = model.clone()
    for kind, wrapper in WRAPPERS.items():
        patched.remove_wrappers_with_key(kind, KEY)
        patched.add_wrapper_with_key(kind, KEY, wrapper)
    return patched


def attach(
    conditioning: list,
    hidden: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    control_bias: torch.Tensor | None = None,
) -> list:
    """The conditioning with what it carries, and with the guard that an unpatched MODEL meets; itself when that is
    nothing.

    hidden: text tokens [B, L, hidden size]; bias: of the context's first tokens [B, T] (see token_bias);
    control_bias: the same for the context that ControlNets see.
    """
    carried = {HIDDEN: hidden, BIAS: bias, CONTROL_BIAS: control_bias}
    conds = {key: comfy.conds.CONDRegular(value) for key, value in carried.items() if value is not None}
    if not conds:
        return conditioning
    attached = []
    for context, options in conditioning:
        joined = {**options.get("model_conds", {}), **conds}
        attached.append([context, {**options, "model_conds": joined, "control": _guarded(options.get("control"))}])
    return attached


class PatchedModelGuard(ControlBase):
    """A control that adds nothing and raises InputError when the sampled MODEL has no wrappers for what it carries."""

    def __init__(self):
        super().__init__()
        self.cond_hint_original = torch.zeros(1, 3, 64, 64)  # tiling packs crop every control's hint

    def get_control(self, x_noisy, t, cond, batched_number, transformer_options):
        if not extension.get_wrappers_with_key(extension.WrappersMP.DIFFUSION_MODEL, KEY, transformer_options):
            raise InputError(
                "The conditioning holds a text prompt, a focus or a strength below 1 in Qwen2VL-Flux's own form, which "
                "this MODEL would ignore; put the node Qwen2VL-Flux Patch Model between the model loader and the "
                "sampler."
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


# One for all conditionings: ComfyUI runs those of one control in one batch.
GUARD = PatchedModelGuard()


def _guarded(control: ControlBase | None) -> ControlBase:
    if control is None or control is GUARD:
        return GUARD
    return control if isinstance(control, PatchedModelGuard) else PatchedModelGuard().set_previous_controlnet(control)


# ---- wrappers on the MODEL -------------------------------------------------------------------------------------------


def _begin(executor, *args, **rest) -> torch.Tensor:
    """Around a whole sampling: nothing that conditionings carry has reached FLUX yet."""
    guider = executor.class_obj
    before = guider.model_options
    guider.model_options = comfy.model_patcher.create_model_options_clone(before)
    guider.model_options["transformer_options"][KEY] = set()
    try:
        return executor(*args, **rest)
    finally:
        guider.model_options = before


def _make_sure(executor, x, timestep, concatenated, context, control, transformer_options, **conds) -> torch.Tensor:
    """Around a call of FLUX: raise InputError when what the conditioning carries does not get there.

    Once it has, a later call may do without: nodes that cache answer some steps with what FLUX made of an earlier one.
    """
    carried = {key for key in (HIDDEN, BIAS) if conds.get(key) is not None}
    arrived = transformer_options.get(KEY, set())
    missing = carried - arrived
    if missing and extension.get_wrappers_with_key(extension.WrappersMP.APPLY_MODEL, COMPILE_KEY, transformer_options):
        logging.info("FLUX runs uncompiled: no compiled graph knows the prompt or the focus of Qwen2VL-Flux.")
    with _uncompiled(transformer_options) if carried else contextlib.nullcontext():
        out = executor(x, timestep, concatenated, context, control, {**transformer_options, KEY: arrived}, **conds)
    if carried - arrived:
        raise InputError(
            "This MODEL does not run FLUX's own forward pass with its wrappers, and its patches in every block, and "
            "would ignore the prompt, the focus or the strength; take out the node that replaces FLUX or parts of it, "
            "or clear the prompt, use mode scale and set strength to 1."
        )
    return out


def _uncompiled(transformer_options: dict) -> contextlib.AbstractContextManager:
    """A context without torch.compile.

    ComfyUI compiles FLUX without guards on `transformer_options`, so that a graph made with one conditioning's patches,
    or with none, would serve the others too.
    """
    if hasattr(torch.compiler, "set_stance"):
        return torch.compiler.set_stance("force_eager")
    if extension.get_wrappers_with_key(extension.WrappersMP.APPLY_MODEL, COMPILE_KEY, transformer_options):
        raise InputError(
            "A MODEL compiled by TorchCompileModel takes no prompt, no focus in mode attention and no strength below 1 "
            "before PyTorch 2.6; take out TorchCompileModel, or update PyTorch."
        )
    return contextlib.nullcontext()


def _with_carried(
    executor, x, timestep, context, y, guidance, ref_latents, control, transformer_options, **rest
) -> torch.Tensor:
    """Inside a call of FLUX: what the conditioning carries becomes patches of its text input and of its attention."""
    hidden, bias, _ = (rest.pop(key, None) for key in (HIDDEN, BIAS, CONTROL_BIAS))
    check_widths("this FLUX", executor.class_obj, context, y, hidden)
    patches = {}
    if hidden is not None:
        patches[HIDDEN] = InsertHiddenTokens(zero_where_zeroed(hidden, context))
        if rest.get("attention_mask") is not None:
            rest["attention_mask"] = pad_attention_mask(rest["attention_mask"], context.shape[1], hidden.shape[1])
        context = pad_context(context, hidden)
    if bias is not None:
        patches[BIAS] = TokenAttentionBias(bias, blocks=_own_blocks(executor.class_obj, transformer_options))
    patched = transformer_options
    for patch in patches.values():
        patched = patch.among(patched)
    out = executor(x, timestep, context, y, guidance, ref_latents, control, patched, **rest)
    if patches:
        transformer_options.get(KEY, set()).update(key for key, patch in patches.items() if patch.done)
    return out


def _own_blocks(network: Flux, transformer_options: dict) -> int:
    """How many of FLUX's blocks no node has replaced by its own, but one at least."""
    names = [("double_block", number) for number in range(len(network.double_blocks))]
    names += [("single_block", number) for number in range(len(network.single_blocks))]
    replaced = transformer_options.get("patches_replace", {}).get("dit", {})
    return max(1, sum(name not in replaced for name in names))


WRAPPERS = {
    extension.WrappersMP.OUTER_SAMPLE: _begin,
    extension.WrappersMP.APPLY_MODEL: _make_sure,
    extension.WrappersMP.DIFFUSION_MODEL: _with_carried,
}


def check_widths(
    name: str, network: Flux, context: torch.Tensor, pooled: torch.Tensor | None, hidden: torch.Tensor | None
) -> None:
    """Name what comes from another checkpoint, before a matrix product fails on it."""
    found = (
        ("The conditioning is", context, "takes", network.params.context_in_dim, "the Qwen2VL encoder"),
        ("The pooled vector is", pooled, "takes", network.params.vec_in_dim, "the text encoders"),
        ("The prompt's tokens are", hidden, "works with", network.hidden_size, "the Qwen2VL encoder"),
    )
    for thing, value, verb, width, part in found:
        if value is not None and value.shape[-1] != width:
            raise InputError(
                f"{thing} {value.shape[-1]} wide and {name} {verb} {width}; load the model and {part} from the "
                "same checkpoint."
            )
