"""A union ControlNet for FLUX set to one of its modes, which hears the text prompt in hidden space as FLUX does.

Qwen2VL-Flux appends its hidden tokens (see hidden_tokens) after `txt_in` in the ControlNet as well. The native
ControlNet knows no such thing: this one pads its context with as many zero tokens and, for the length of one call,
overwrites them behind its own `txt_in`.
"""

from __future__ import annotations

import comfy.model_base
from comfy.controlnet import ControlBase, ControlNet
from comfy.ldm.flux.controlnet import ControlNetFlux

from ..errors import InputError
from .hidden_tokens import KEY, check_widths, placed_in, silenced, with_room

MODES = {"canny": 0, "tile": 1, "depth": 2, "blur": 3, "pose": 4, "gray": 5, "lq": 6}
"""Mode numbers of InstantX's FLUX.1-dev-Controlnet-Union; ComfyUI's SetUnionControlNetType has those of SDXL's."""


def with_mode(control_net: ControlBase, mode: str) -> UnionControlNet:
    """The ControlNet set to a mode by name; raises InputError for one that has no such modes."""
    network = getattr(control_net, "control_model", None)
    if not isinstance(control_net, ControlNet) or not isinstance(network, ControlNetFlux):
        kind = type(control_net if network is None else network).__name__
        raise InputError(
            f"The ControlNet is a {kind}, not one for FLUX; load a FLUX.1 union ControlNet such as "
            "FLUX.1-dev-Controlnet-Union."
        )
    if MODES[mode] >= network.num_union_modes:
        found = f"knows {network.num_union_modes} modes" if network.num_union_modes else "is not a union ControlNet"
        raise InputError(
            f"The ControlNet {found}, so it cannot be set to {mode}; load a union ControlNet, or apply this one "
            "without FLUX Union Control Mode."
        )
    union = UnionControlNet.of(control_net)
    union.set_extra_arg("control_type", [MODES[mode]])
    return union


class UnionControlNet(ControlNet):
    """A native FLUX ControlNet that takes hidden tokens; shares the network it was made of."""

    @classmethod
    def of(cls, control_net: ControlNet) -> UnionControlNet:
        twin = cls(load_device=control_net.load_device, manual_cast_dtype=control_net.manual_cast_dtype)
        twin.control_model = control_net.control_model
        twin.control_model_wrapped = control_net.control_model_wrapped
        control_net.copy_to(twin)
        return twin

    def copy(self) -> UnionControlNet:
        return UnionControlNet.of(self)

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
        context, hidden = cond.get("crossattn_controlnet", cond["c_crossattn"]), cond.get(KEY)
        check_widths("this ControlNet", self.control_model, context, cond.get("y"), hidden)
        context = silenced(context, cond["c_crossattn"])
        cond = {**cond, "crossattn_controlnet": context}
        if hidden is None:
            return super().get_control(x_noisy, t, cond, batched_number, transformer_options)
        hidden, earlier = silenced(hidden, cond["c_crossattn"]), self.previous_controlnet
        if earlier is not None:
            given = earlier.get_control(x_noisy, t, cond, batched_number, transformer_options)
            self.previous_controlnet = _Given(given)
        own = {**cond, "crossattn_controlnet": with_room(context, hidden)}
        hook = self.control_model.txt_in.register_forward_hook(lambda module, inputs, text: placed_in(text, hidden))
        try:
            return super().get_control(x_noisy, t, own, batched_number, transformer_options)
        finally:
            hook.remove()
            self.previous_controlnet = earlier


class _Given:
    """The control of the earlier ControlNets of a chain, which were asked with the conditioning as it came."""

    def __init__(self, control: dict | None):
        self._control = control

    def get_control(self, *_) -> dict | None:
        return self._control
