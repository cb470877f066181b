"""What a conditioning carries for FLUX beside its context, and how a native MODEL comes to take it.

Text tokens in hidden space and the bias of image tokens ride in the conditioning's `model_conds`; one wrapper on the
MODEL puts each where it belongs. Because an unpatched FLUX would ignore them without a word, the conditioning also
carries a guard that stops it.

A conditioning that ConditioningZeroOut has zeroed has its prompt zeroed too.
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
from .hidden_tokens import Placing, silenced, widened, with_room
from .token_bias import Biasing

HIDDEN = "qwen2vl_flux_hidden_tokens"
BIAS = "qwen2vl_flux_token_bias"
CONTROL_BIAS = "qwen2vl_flux_control_token_bias"
WRAPPER = extension.WrappersMP.DIFFUSION_MODEL
KEY = "qwen2vl_flux"


def patch_model(model: ModelPatcher) -> ModelPatcher:
    """A clone of a FLUX.1 MODEL that understands conditioning made by the Qwen2VL connector."""
    if type(model.model) is not comfy.model_base.Flux or not isinstance(model.model.diffusion_model, Flux):
        kind = type(getattr(model.model, "model_config", model.model)).__name__
        raise InputError(f"The model is a {kind}, and Qwen2VL-Flux works on FLUX.1 only; connect a FLUX.1-dev.")
    patched = model.clone()
    patched.remove_wrappers_with_key(WRAPPER, KEY)
    patched.add_wrapper_with_key(WRAPPER, KEY, _with_carried)
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
        guard = options.get("control")
        if not isinstance(guard, PatchedModelGuard):
            guard = PatchedModelGuard().set_previous_controlnet(guard)
        joined = {**options.get("model_conds", {}), **conds}
        attached.append([context, {**options, "model_conds": joined, "control": guard}])
    return attached


class PatchedModelGuard(ControlBase):
    """A control that adds nothing and raises InputError when the sampled MODEL would drop what it carries.

    It is asked before every call of the MODEL: for a MODEL without the wrapper it raises at once, for one that has the
    wrapper and never runs it (another pack's own FLUX) at the next call.
    """

    def __init__(self):
        super().__init__()
        self.cond_hint_original = torch.zeros(1, 3, 64, 64)  # tiling packs crop every control's hint
        self.delivered = True

    def pre_run(self, model, percent_to_timestep_function):
        super().pre_run(model, percent_to_timestep_function)
        self.delivered = True

    def get_control(self, x_noisy, t, cond, batched_number, transformer_options):
        if not (self.delivered and extension.get_wrappers_with_key(WRAPPER, KEY, transformer_options)):
            raise InputError(
                "The conditioning holds a text prompt or a focus in Qwen2VL-Flux's own form, which this MODEL would "
                "ignore; put the node Qwen2VL-Flux Patch Model between the model loader and the sampler, and take out "
                "nodes that replace FLUX by their own."
            )
        self.delivered = False
        transformer_options[KEY] = self
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


def _with_carried(
    executor, x, timestep, context, y, guidance, ref_latents, control, transformer_options, **rest
) -> torch.Tensor:
    hidden, bias, _ = (rest.pop(key, None) for key in (HIDDEN, BIAS, CONTROL_BIAS))
    if KEY in transformer_options:
        transformer_options[KEY].delivered = True
    check_widths("this FLUX", executor.class_obj, context, y, hidden)
    patches = []
    if hidden is not None:
        patches.append(Placing(silenced(hidden, context)))
        if rest.get("attention_mask") is not None:
            rest["attention_mask"] = widened(rest["attention_mask"], context.shape[1], hidden.shape[1])
        context = with_room(context, hidden)
    if bias is not None:
        patches.append(Biasing(bias))
    for patch in patches:
        transformer_options = patch.among(transformer_options)
    out = executor(x, timestep, context, y, guidance, ref_latents, control, transformer_options, **rest)
    if not all(patch.done for patch in patches):
        raise InputError(
            "This MODEL does not run the patches of FLUX's text input and attention and would ignore the prompt or the "
            "focus; take out the node that replaces FLUX's forward pass, or clear the prompt and use mode scale."
        )
    return out


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
