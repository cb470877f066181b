"""Text tokens that live in FLUX's hidden space.

Qwen2VL-Flux sends T5 through a Linear of its own and appends the result after FLUX's context embedder (`txt_in`), so
these tokens cannot travel as ordinary context. Here they ride in the conditioning's `model_conds`; a wrapper on the
MODEL pads the context with as many zero tokens and overwrites them behind `txt_in`. Because an unpatched FLUX would
ignore the extra entry without a word, the conditioning also carries a guard that stops it.

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
    """A control that adds nothing and raises InputError when the sampled MODEL would drop the hidden tokens.

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
                "The conditioning holds a text prompt in Qwen2VL-Flux's own form, which this MODEL would ignore; "
                "put the node Qwen2VL-Flux Patch Model between the model loader and the sampler, and take out nodes "
                "that replace FLUX by their own."
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


def _with_hidden_tokens(
    executor, x, timestep, context, y, guidance, ref_latents, control, transformer_options, **rest
) -> torch.Tensor:
    hidden = rest.pop(KEY, None)
    if KEY in transformer_options:
        transformer_options[KEY].delivered = True
    check_widths("this FLUX", executor.class_obj, context, y, hidden)
    if hidden is None:
        return executor(x, timestep, context, y, guidance, ref_latents, control, transformer_options, **rest)
    placed = _Placing(silenced(hidden, context))
    if rest.get("attention_mask") is not None:
        rest["attention_mask"] = _widened(rest["attention_mask"], context.shape[1], hidden.shape[1])
    options = placed.first_in(transformer_options)
    out = executor(x, timestep, with_room(context, hidden), y, guidance, ref_latents, control, options, **rest)
    if not placed.done:
        raise InputError(
            "This MODEL does not run the patches behind FLUX's text input and would ignore the prompt; take out the "
            "node that replaces FLUX's forward pass, or clear the prompt."
        )
    return out


def silenced(tokens: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
    """Tokens [B, L, H], zero where ConditioningZeroOut has zeroed the context [B, T, C], which is all it knows of."""
    zeroed = ~context.flatten(1).any(dim=1)
    return tokens.masked_fill(zeroed[:, None, None], 0)


def with_room(context: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
    """The context with as many zero tokens at its end as there are hidden tokens."""
    return torch.cat((context, context.new_zeros(*hidden.shape[:2], context.shape[-1])), dim=1)


def placed_in(text: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
    """The text tokens behind `txt_in`, the last of them overwritten by the hidden tokens."""
    return torch.cat((text[:, : text.shape[1] - hidden.shape[1]], hidden.to(text)), dim=1)


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


class _Placing:
    """A `post_input` patch that puts hidden tokens at the end of the text tokens, and remembers that it ran."""

    def __init__(self, hidden: torch.Tensor):
        self.hidden = hidden
        self.done = False

    def __call__(self, args: dict) -> dict:
        self.done = True
        return {**args, "txt": placed_in(args["txt"], self.hidden)}

    def first_in(self, transformer_options: dict) -> dict:
        """The options with this patch before all others of its kind."""
        patches = transformer_options.get("patches", {})
        return {**transformer_options, "patches": {**patches, "post_input": [self, *patches.get("post_input", [])]}}


def _widened(mask: torch.Tensor, text: int, more: int) -> torch.Tensor:
    """An attention bias [..., N, N] with `more` unbiased places after the text's."""
    for dim in (-1, -2):
        shape = list(mask.shape)
        shape[dim] = more
        before, after = mask.split((text, mask.shape[dim] - text), dim=dim)
        mask = torch.cat((before, mask.new_zeros(shape), after), dim=dim)
    return mask
