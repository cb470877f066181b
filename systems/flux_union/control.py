"""A ControlNet for FLUX, set to its mode where it has modes, which takes what a conditioning carries as FLUX does.

Qwen2VL-Flux appends its hidden tokens (see hidden_tokens) after `txt_in` in the ControlNet as well, and a focus weights
the attention there too. The native ControlNet knows neither: this one pads its context with as many zero tokens and,
for the length of one call, hooks its own `txt_in` and blocks.
"""

from __future__ import annotations

import contextlib

import comfy.model_base
import torch
from comfy.controlnet import ControlBase, ControlNet
from comfy.ldm.flux.controlnet import ControlNetFlux
from torch.utils.hooks import RemovableHandle

from ..common.comfy.attention_bias import CONTROL_TOKEN_BIAS, TokenAttentionBias
from ..common.comfy.hidden_tokens import HIDDEN_TOKENS, insert_hidden_tokens, pad_context, zero_where_zeroed
from ..common.comfy.native_flux import check_widths
from ..common.errors import InputError

# The mode numbers of InstantX's FLUX.1-dev-Controlnet-Union; ComfyUI's SetUnionControlNetType has those of SDXL's.
MODES = {"canny": 0, "tile": 1, "depth": 2, "blur": 3, "pose": 4, "gray": 5, "lq": 6}


def prepare_control_net(control_net: ControlBase, mode: str) -> FluxControlNet:
    """The ControlNet set to a mode by name; one without modes, made for a single purpose or for any, stays as it is.

    Raises InputError for a ControlNet of another model and for a mode that a union ControlNet lacks.
    """
    network = getattr(control_net, "control_model", None)
    if not isinstance(control_net, ControlNet) or not isinstance(network, ControlNetFlux):
        kind = type(control_net if network is None else network).__name__
        raise InputError(
            f"The ControlNet is a {kind}, not one for FLUX; load a FLUX.1 ControlNet such as "
            "FLUX.1-dev-Controlnet-Union."
        )
    union, modes = FluxControlNet.of(control_net), network.num_union_modes
    if not modes:
        return union
    if MODES[mode] >= modes:
        raise InputError(
            f"The ControlNet knows {modes} modes, so it cannot be set to {mode}; choose another mode, or load a union "
            "ControlNet that has it."
        )
    union.set_extra_arg("control_type", [MODES[mode]])
    return union


class FluxControlNet(ControlNet):
    """A native FLUX ControlNet that takes hidden tokens and a bias; shares the network it was made of."""

    @classmethod
    def of(cls, control_net: ControlNet) -> FluxControlNet:
        twin = cls(load_device=control_net.load_device, manual_cast_dtype=control_net.manual_cast_dtype)
        twin.control_model = control_net.control_model
        twin.control_model_wrapped = control_net.control_model_wrapped
        control_net.copy_to(twin)
        return twin

    def copy(self) -> FluxControlNet:
        return FluxControlNet.of(self)

    def pre_run(self, model, percent_to_timestep_function):
        super().pre_run(model, percent_to_timestep_function)
        if not isinstance(model, comfy.model_base.Flux):
            raise InputError(
                f"The ControlNet is for FLUX.1 and the MODEL is a {type(model).__name__}; connect a FLUX.1 MODEL."
            )
        own = self.control_model.hidden_size
        width = getattr(model.diffusion_model, "hidden_size", own)  # unknown where a pack brings a FLUX of its own
        if width != own:
            raise InputError(
                f"The ControlNet works with {own} values a token and the MODEL with {width}; load a ControlNet made "
                "for this FLUX."
            )

    def get_control(self, x_noisy, t, cond, batched_number, transformer_options):
        context = cond.get("crossattn_controlnet", cond["c_crossattn"])
        hidden, bias = cond.get(HIDDEN_TOKENS), cond.get(CONTROL_TOKEN_BIAS)
        check_widths("this ControlNet", self.control_model, context, cond.get("y"), hidden)
        context = zero_where_zeroed(context, cond["c_crossattn"])
        cond = {**cond, "crossattn_controlnet": context}
        if hidden is None and bias is None:
            return super().get_control(x_noisy, t, cond, batched_number, transformer_options)
        earlier = self.previous_controlnet
        if earlier is not None:
            given = earlier.get_control(x_noisy, t, cond, batched_number, transformer_options)
            self.previous_controlnet = _ComputedControl(given)
        with contextlib.ExitStack() as stack:
            stack.callback(self.set_previous_controlnet, earlier)
            if hidden is not None:
                hidden = zero_where_zeroed(hidden, cond["c_crossattn"])
                cond = {**cond, "crossattn_controlnet": pad_context(context, hidden)}
                stack.callback(self._insert(hidden).remove)
            if bias is not None:
                for hook in self._weigh(bias):
                    stack.callback(hook.remove)
            return super().get_control(x_noisy, t, cond, batched_number, transformer_options)

    def _insert(self, hidden: torch.Tensor) -> RemovableHandle:
        return self.control_model.txt_in.register_forward_hook(
            lambda module, inputs, text: insert_hidden_tokens(text, hidden)
        )

    def _weigh(self, bias: torch.Tensor) -> list[RemovableHandle]:
        """Hooks that put the bias on every block's attention; the tokens of modes come before all others."""
        modes = self.extra_args["control_type"] if self.control_model.num_union_modes else []
        biasing = TokenAttentionBias(bias, before=len(modes))

        def biased(block, inputs, given: dict) -> tuple:
            streams = [given["txt"], given["img"]] if "img" in given else inputs
            keys = sum(stream.shape[1] for stream in streams)
            return inputs, {**given, "attn_mask": biasing.mask_for(given.get("attn_mask"), streams[0], keys)}

        blocks = [*self.control_model.double_blocks, *self.control_model.single_blocks]
        return [block.register_forward_pre_hook(biased, with_kwargs=True) for block in blocks]


class _ComputedControl:
    """The control of the earlier ControlNets of a chain, which were asked with the conditioning as it came."""

    def __init__(self, control: dict | None):
        self._control = control

    def get_control(self, *_) -> dict | None:
        return self._control
