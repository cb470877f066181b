"""What a CONDITIONING brings to the network of a patched MODEL beside its context: plain tensors under one key.

Tensors go through everything that ComfyUI does with conditionings, training sets on disk included. The wrappers of the
MODEL turn them into `model_conds`, which ComfyUI batches and cuts as its own, and make sure that they reach the
network. An unpatched MODEL would leave them where they are without a word, so a guard lies among the conditioning's
`model_conds` until they come, and raises the error when it is used.
"""

from __future__ import annotations

import contextlib
import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NoReturn

import comfy.conds
import comfy.model_patcher
import comfy.patcher_extension as extension
import torch
from comfy.model_patcher import ModelPatcher
from comfy_api.torch_helpers.torch_compile import COMPILE_KEY

from ..errors import InputError


@dataclass(frozen=True)
class Carrier:
    """The tensors of one system, on their way from a CONDITIONING to the network.

    key: of the conditioning's entry, of the MODEL's wrappers, and of what has arrived in transformer_options.
    required: names of the tensors that have to arrive; others are for ControlNets, which need not be there.
    unpatched, lost: what to say of a MODEL without the wrappers, and of one that does not run them.
    """

    key: str
    required: frozenset[str]
    unpatched: str
    lost: str

    def attach(self, conditioning: list, tensors: Mapping[str, torch.Tensor | None]) -> list:
        """The conditioning with these tensors [B, ...] besides those it has, None left out; itself when that is all."""
        given = {name: value for name, value in tensors.items() if value is not None}
        if not given:
            return conditioning
        attached = []
        for context, options in conditioning:
            carried = {**options.get(self.key, {}), **given}
            guarded = {**options.get("model_conds", {}), self.key: _Guard(self.unpatched)}
            attached.append([context, {**options, self.key: carried, "model_conds": guarded}])
        return attached

    def patch(self, model: ModelPatcher, insert: Callable[..., torch.Tensor]) -> ModelPatcher:
        """A clone of a MODEL with the wrappers of this carrier.

        insert: a wrapper around the network's forward, which takes the tensors out of its keywords, puts them to use,
        and calls `confirm` for each that was.
        """
        patched = model.clone()
        wrappers = {
            extension.WrappersMP.OUTER_SAMPLE: self._begin,
            extension.WrappersMP.CALC_COND_BATCH: self._deliver_late,
            extension.WrappersMP.APPLY_MODEL: self._make_sure,
            extension.WrappersMP.DIFFUSION_MODEL: insert,
        }
        for kind, wrapper in wrappers.items():
            patched.remove_wrappers_with_key(kind, self.key)
            patched.add_wrapper_with_key(kind, self.key, wrapper)
        return patched

    def confirm(self, transformer_options: dict, name: str) -> None:
        """Say that a tensor has been put to use in this sampling."""
        transformer_options.get(self.key, set()).add(name)

    def _begin(self, executor, *args, **rest) -> torch.Tensor:
        """Around a whole sampling: its tensors become model_conds, and none of them has arrived yet."""
        guider = executor.class_obj
        guider.conds = {name: [self._delivered(cond) for cond in conds] for name, conds in guider.conds.items()}
        before = guider.model_options
        guider.model_options = comfy.model_patcher.create_model_options_clone(before)
        guider.model_options["transformer_options"][self.key] = set()
        try:
            return executor(*args, **rest)
        finally:
            guider.model_options = before

    def _deliver_late(self, executor, model, conds, *args, **rest) -> list[torch.Tensor]:
        """Around a step: the same for what nodes bring into a sampling that has begun, as Perp-Neg does."""
        late = [group and [self._delivered(cond) for cond in group] for group in conds]
        return executor(model, late, *args, **rest)

    def _delivered(self, cond: dict) -> dict:
        """ComfyUI's form of one conditioning with its tensors as model_conds in place of the guard."""
        if self.key not in cond:
            return cond
        delivered = {name: value for name, value in cond.items() if name != self.key}
        others = {name: value for name, value in cond["model_conds"].items() if name != self.key}
        carried = {name: comfy.conds.CONDRegular(value) for name, value in cond[self.key].items()}
        return {**delivered, "model_conds": {**others, **carried}}

    def _make_sure(self, executor, x, timestep, concatenated, context, control, transformer_options, **conds):
        """Around a call of the network: raise InputError when what has to arrive does not.

        Once it has, a later call may do without: nodes that cache answer some steps with what the network made of an
        earlier one.
        """
        carried = {name for name in self.required if conds.get(name) is not None}
        arrived = transformer_options.get(self.key, set())
        options = {**transformer_options, self.key: arrived}
        if carried - arrived and _is_compiled(transformer_options):
            logging.info("The network runs uncompiled: no compiled graph knows what this conditioning carries.")
        with _uncompiled(transformer_options) if carried else contextlib.nullcontext():
            out = executor(x, timestep, concatenated, context, control, options, **conds)
        if carried - arrived:
            raise InputError(self.lost)
        return out


class _Guard:
    """What ComfyUI meets among the model_conds of a conditioning that no wrapper has taken up.

    It goes to disk as an OrderedDict, which torch.load takes with weights_only; an unpatched MODEL fails on that too,
    with an AttributeError.
    """

    def __init__(self, sentence: str):
        self.sentence = sentence

    def process_cond(self, **_: object) -> NoReturn:
        raise InputError(self.sentence)

    def __reduce__(self) -> tuple:
        return OrderedDict, ()

    def __copy__(self) -> _Guard:
        return self

    def __deepcopy__(self, _: dict) -> _Guard:
        return self


def _is_compiled(transformer_options: dict) -> bool:
    return bool(extension.get_wrappers_with_key(extension.WrappersMP.APPLY_MODEL, COMPILE_KEY, transformer_options))


def _uncompiled(transformer_options: dict) -> contextlib.AbstractContextManager:
    """A context without torch.compile.

    ComfyUI compiles networks without guards on `transformer_options`, so that a graph made with one conditioning's
    patches, or with none, would serve the others too.
    """
    if hasattr(torch.compiler, "set_stance"):
        return torch.compiler.set_stance("force_eager")
    if _is_compiled(transformer_options):
        raise InputError(
            "A MODEL compiled by TorchCompileModel takes no prompt, no focus in mode attention and no strength below 1 "
            "before PyTorch 2.6; take out TorchCompileModel, or update PyTorch."
        )
    return contextlib.nullcontext()
