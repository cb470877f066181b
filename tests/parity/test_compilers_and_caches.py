"""A prompt or a focus in mode `attention` beside nodes that compile FLUX or answer steps from a cache."""

from __future__ import annotations

import copy
import functools

import comfy.samplers
import pytest
import torch
from comfy.ldm.flux.model import Flux
from comfy_api.torch_helpers import set_torch_compile_wrapper
from comfy_extras.nodes_custom_sampler import Guider_Basic
from comfy_extras.nodes_easycache import EasyCacheNode, LazyCacheNode
from comfy_extras.nodes_torch_compile import TorchCompileModel, skip_torch_compile_dict
from goldens import golden, relative_error
from nodes import ConditioningSetTimestepRange
from two_steps import sample

from systems.common.comfy.attention_bias import log_weights
from systems.common.errors import InputError
from systems.common.schedules import flux_sigmas
from systems.qwen2vl_flux.flux import load_transformer
from systems.qwen2vl_flux.patch import attach, patch_model

STEPS = 6


@pytest.fixture
def flux(tiny):
    return load_transformer(tiny)


def plain() -> list:
    return [[golden("connector")["connector_a_256"], {"pooled_output": golden("loop_inputs")["pooled"]}]]


def prompted() -> list:
    return attach(plain(), golden("encoder")["t5_projected"])


def focused(prompt: bool = False, left: bool = True) -> list:
    """Mode `attention` with one half of the tokens at a twentieth."""
    weights = torch.ones(1, 256)
    weights[:, slice(128) if left else slice(128, None)] = 0.05
    return attach(plain(), golden("encoder")["t5_projected"] if prompt else None, log_weights(weights))


def by_node(model):
    """ComfyUI's TorchCompileModel."""
    return TorchCompileModel.execute(model, "inductor").args[0]


def by_block(model):
    """Each block by itself, as other packs' compile nodes for FLUX do."""
    compiled = model.clone(disable_dynamic=True)
    network = model.model.diffusion_model
    counts = {"double_blocks": len(network.double_blocks), "single_blocks": len(network.single_blocks)}
    keys = [f"diffusion_model.{kind}.{i}" for kind, count in counts.items() for i in range(count)]
    options = {"guard_filter_fn": skip_torch_compile_dict}
    set_torch_compile_wrapper(compiled, "aot_eager", options=options, keys=keys)
    return compiled


def easy(model, threshold: float = 3.0):
    return EasyCacheNode.execute(model, threshold, 0.15, 0.95, False).args[0]


def lazy(model, threshold: float = 3.0):
    return LazyCacheNode.execute(model, threshold, 0.15, 0.95, False).args[0]


@pytest.fixture
def calls(flux) -> list[int]:
    """The batch size of each call of FLUX."""
    made: list[int] = []
    flux.model.diffusion_model.img_in.register_forward_pre_hook(lambda _, args: made.append(len(args[0])))
    return made


def guided(model, positive: list, negative: list | None = None, steps: int = STEPS) -> torch.Tensor:
    """Latents after a sampling of several steps, at cfg 2 with a negative."""
    guider = comfy.samplers.CFGGuider(model) if negative else Guider_Basic(model)
    guider.set_conds(*([positive, negative] if negative else [positive]))
    if negative:
        guider.set_cfg(2.0)
    noise, sigmas = golden("loop_inputs")["noise"][:1], torch.from_numpy(flux_sigmas(steps, 1.0, 192, 128))
    sampler = comfy.samplers.sampler_object("euler")
    with torch.inference_mode():
        return guider.sample(noise, torch.zeros_like(noise), sampler, sigmas, disable_pbar=True, seed=0)


def ranged(conditioning: list, start: float, end: float) -> list:
    return ConditioningSetTimestepRange().set_range(conditioning, start, end)[0]


@pytest.mark.parametrize("compiled", [pytest.param(by_node, marks=pytest.mark.slow), by_block])
@pytest.mark.parametrize("patched_first", [True, False], ids=["patched", "compiled"])
def test_a_compiled_flux_takes_them_in_any_order(flux, compiled, patched_first):
    """Graphs of one conditioning, which have no guard on a MODEL's patches, must not serve another."""
    model = compiled(patch_model(flux)) if patched_first else patch_model(compiled(flux))
    torch.compiler.reset()
    torch._dynamo.utils.counters.clear()
    for given in (focused(), prompted(), focused(prompt=True, left=False), plain(), prompted(), focused()):
        assert relative_error(sample(model, given), sample(patch_model(flux), given)) < 1e-5
    assert torch._dynamo.utils.counters["frames"]["ok"]  # what carries nothing does run compiled


def test_a_prompt_after_graphs_without_the_patch(flux):
    """One network, compiled for a MODEL that was not patched."""
    torch.compiler.reset()
    plainly = by_node(flux)
    sample(plainly, plain())
    given = focused(prompt=True)
    assert relative_error(sample(patch_model(plainly), given), sample(patch_model(flux), given)) < 1e-5
    with pytest.raises(InputError, match="Qwen2VL-Flux Patch Model"):
        sample(plainly, given)


def test_a_pytorch_that_cannot_leave_graphs_aside(flux, monkeypatch):
    """PyTorch before 2.6: one sentence, for compiled MODELs alone."""
    monkeypatch.delattr(torch.compiler, "set_stance")
    assert torch.isfinite(sample(patch_model(flux), focused())).all()
    with pytest.raises(InputError, match="TorchCompileModel takes no prompt, .* before PyTorch 2.6"):
        sample(patch_model(by_node(flux)), focused())


@pytest.mark.parametrize("cached", [easy, lazy])
@pytest.mark.parametrize("given", [prompted, focused], ids=["prompt", "focus"])
def test_steps_from_a_cache_are_no_loss(flux, calls, cached, given):
    """The cache answers some steps, in either order with the patch, and what it answers them with has the prompt or the
    focus in it."""
    behind, before = cached(patch_model(flux)), patch_model(cached(flux))
    made = guided(behind, given())
    assert 0 < len(calls) < STEPS
    assert torch.equal(guided(before, given()), made)
    assert relative_error(guided(before, plain()), made) > 1e-3


def test_a_cache_that_answers_nothing_changes_nothing(flux, calls):
    assert torch.equal(guided(easy(patch_model(flux), 0.0), prompted()), guided(patch_model(flux), prompted()))
    assert len(calls) == 2 * STEPS


@pytest.mark.parametrize("cached", [easy, lazy])
def test_a_cache_beside_prompts_that_come_and_go(flux, calls, cached):
    """A second prompt that begins when the cache answers already, with guidance."""
    late = attach(plain(), golden("encoder")["t5_projected"].flip(1))
    given = [*ranged(prompted(), 0.0, 0.5), *ranged(late, 0.5, 1.0)]
    made = guided(cached(patch_model(flux)), given, plain(), steps=2 * STEPS)
    assert torch.isfinite(made).all() and 0 < len(calls) < 4 * STEPS


def test_a_cache_does_not_hide_a_flux_that_loses_the_prompt(flux):
    """Not even in a sampling of one step."""
    patched = patch_model(flux)
    patched.model.diffusion_model.__class__ = type("SkipsPatches", (Flux,), {"forward_orig": _without_patches})
    for model, steps in ((patched, 1), (easy(patched), STEPS), (lazy(patched), STEPS)):
        with pytest.raises(InputError, match="would ignore the prompt"):
            guided(model, prompted(), steps=steps)


@pytest.mark.parametrize("block", ["double_blocks.0", "single_blocks.1"])
def test_one_block_that_loses_the_focus_is_enough(flux, block):
    """A pack's own block in the place of one of FLUX's, which runs no patch of attention."""
    patched = patch_model(flux)
    whole = sample(patched, focused())
    lost = patched.clone()
    own = copy.deepcopy(lost.get_model_object(f"diffusion_model.{block}"))
    own.forward = functools.partial(_block_without_patches, own.forward)
    lost.add_object_patch(f"diffusion_model.{block}", own)
    with pytest.raises(InputError, match="would ignore the prompt, the focus"):
        sample(lost, focused())
    assert torch.isfinite(sample(lost, prompted())).all()  # which needs no block
    assert torch.equal(sample(patched, focused()), whole)


def test_blocks_that_are_replaced_in_comfyuis_way_need_not_run_it(flux):
    """As skipping layers does."""
    skipping = patch_model(flux)
    skipping.set_model_patch_replace(lambda args, rest: {"img": args["img"]}, "dit", "single_block", 0)
    made = sample(skipping, focused())
    assert torch.isfinite(made).all() and relative_error(made, sample(patch_model(flux), focused())) > 1e-3


def _block_without_patches(forward, *args, transformer_options, **rest):
    return forward(*args, transformer_options={**transformer_options, "patches": {}}, **rest)


def _without_patches(self, *args, transformer_options, **rest):
    return Flux.forward_orig(self, *args, transformer_options={**transformer_options, "patches": {}}, **rest)


def test_prompts_run_in_one_batch_under_guidance(flux, calls):
    """As conditionings without prompts do."""
    other = attach(plain(), golden("encoder")["t5_projected"].flip(1))
    guided(patch_model(flux), plain(), plain(), steps=2)
    guided(patch_model(flux), prompted(), other, steps=2)
    assert calls == [2, 2, 2, 2]
