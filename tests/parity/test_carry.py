"""What conditionings carry to a patched MODEL: on disk and back, and past a MODEL that does not take it."""

from __future__ import annotations

import copy
import io

import comfy.samplers
import comfy_extras.nodes_dataset as datasets
import folder_paths
import pytest
import torch
from comfy_extras.nodes_perpneg import PerpNeg
from goldens import golden, relative_error
from nodes import ConditioningCombine
from two_steps import sample

from systems.common.comfy.attention_bias import log_weights
from systems.common.comfy.carry import Carrier
from systems.common.errors import InputError
from systems.common.schedules import flux_sigmas
from systems.qwen2vl_flux.flux import load_transformer
from systems.qwen2vl_flux.patch import attach, patch_model


@pytest.fixture(scope="module")
def flux(tiny):
    return load_transformer(tiny)


def plain() -> list:
    return [[golden("connector")["connector_a_256"], {"pooled_output": golden("loop_inputs")["pooled"]}]]


def prompted() -> list:
    """With a prompt, and a bias on half of the tokens."""
    weights = torch.ones(1, 256)
    weights[:, :128] = 0.2
    return attach(plain(), golden("encoder")["t5_projected"], log_weights(weights))


def through_a_file(conditioning: list) -> list:
    buffer = io.BytesIO()
    torch.save(conditioning, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


@pytest.fixture
def through_a_training_set(tmp_path):
    """By ComfyUI's own nodes, which write into its output folder."""
    before = folder_paths.get_output_directory()
    folder_paths.set_output_directory(str(tmp_path))

    def through(conditioning: list) -> list:
        latents = [{"samples": torch.zeros(1, 16, 8, 8)}]
        datasets.SaveTrainingDataset.execute(latents, [conditioning], ["set"], [1000])
        return datasets.LoadTrainingDataset.execute("set").args[1][0]

    yield through
    folder_paths.set_output_directory(before)


def test_a_prompt_goes_to_disk_and_back(flux, through_a_training_set):
    patched = patch_model(flux)
    made = sample(patched, prompted())
    assert relative_error(sample(patched, plain()), made) > 1e-3
    for way in (through_a_file, through_a_training_set):
        ((context, options),) = way(prompted())
        assert {type(value) for value in options["qwen2vl_flux"].values()} == {torch.Tensor}
        given = [[context, options]]
        assert torch.equal(sample(patched, given), made)
        assert torch.equal(sample(patched, through_a_file(given)), made)  # once more
        with pytest.raises(AttributeError, match="OrderedDict"):
            sample(flux, given)


def test_what_is_attached_twice_counts_once(flux):
    """The later prompt in place of the earlier, beside the bias that stays."""
    again = attach(prompted(), -golden("encoder")["t5_projected"])
    ((_, options),) = again
    assert len(options["model_conds"]) == 1 and len(options["qwen2vl_flux"]) == 2
    patched = patch_model(flux)
    assert relative_error(sample(patched, again), sample(patched, prompted())) > 1e-4


def test_a_sampling_leaves_the_conditioning_as_it_was(flux):
    ((_, options),) = given = prompted()
    before = dict(options)
    made = sample(patch_model(flux), given)
    assert options == before and options["model_conds"].keys() == {"qwen2vl_flux"}
    assert torch.equal(sample(patch_model(flux), given), made)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_a_copy_is_as_good(flux, copied):
    given = [[context, {name: copied(value) for name, value in options.items()}] for context, options in prompted()]
    assert torch.equal(sample(patch_model(flux), given), sample(patch_model(flux), prompted()))
    with pytest.raises(InputError, match="Qwen2VL-Flux Patch Model"):
        sample(flux, given)


def test_conditionings_that_come_late_are_taken_too(flux):
    """The node Perp-Neg prepares its empty conditioning by itself, and runs it within each step."""

    def guided(model, empty: list) -> torch.Tensor:
        (patched,) = PerpNeg.execute(model, empty, 1.0).args
        guider = comfy.samplers.CFGGuider(patched)
        guider.set_conds(plain(), plain())
        guider.set_cfg(2.0)
        noise, sigmas = golden("loop_inputs")["noise"][:1], torch.from_numpy(flux_sigmas(2, 1.0, 192, 128))
        sampler = comfy.samplers.sampler_object("euler")
        with torch.inference_mode():
            return guider.sample(noise, torch.zeros_like(noise), sampler, sigmas, disable_pbar=True, seed=0)

    assert relative_error(guided(patch_model(flux), prompted()), guided(patch_model(flux), plain())) > 1e-4
    with pytest.raises(InputError, match="Qwen2VL-Flux Patch Model"):
        guided(flux, prompted())


def test_a_conditioning_that_never_runs_stops_nothing(flux):
    """A negative at cfg 1."""
    guider = comfy.samplers.CFGGuider(flux)
    guider.set_conds(plain(), prompted())
    guider.set_cfg(1.0)
    noise, sigmas = golden("loop_inputs")["noise"][:1], torch.from_numpy(flux_sigmas(2, 1.0, 192, 128))
    with torch.inference_mode():
        made = guider.sample(noise, torch.zeros_like(noise), comfy.samplers.sampler_object("euler"), sigmas, seed=0)
    assert torch.isfinite(made).all()


def test_one_of_several_conditionings_is_enough_to_stop_an_unpatched_model(flux):
    (both,) = ConditioningCombine().combine(plain(), prompted())
    with pytest.raises(InputError, match="put the node Qwen2VL-Flux Patch Model between"):
        sample(flux, both)
    assert torch.isfinite(sample(patch_model(flux), both)).all()


def test_each_system_takes_its_own(flux):
    """Two on one MODEL and one CONDITIONING, in both orders; and one of them where the MODEL knows the other alone."""
    taken = []

    def insert(executor, *args, **rest):
        taken.append(rest.pop("other_tensor"))
        other.confirm(args[7], "other_tensor")
        return executor(*args, **rest)

    other = Carrier("other", frozenset({"other_tensor"}), unpatched="patch it for the other", lost="lost")
    both = other.attach(prompted(), {"other_tensor": torch.ones(1, 3)})
    with pytest.raises(InputError, match="Qwen2VL-Flux Patch Model"):
        sample(other.patch(flux, insert), both)
    with pytest.raises(InputError, match="patch it for the other"):
        sample(patch_model(flux), both)
    for model in (other.patch(flux, insert), patch_model(flux)):
        with pytest.raises(AttributeError, match="OrderedDict"):
            sample(model, through_a_file(both))
    assert not taken

    made = sample(patch_model(flux), prompted())
    for model in (patch_model(other.patch(flux, insert)), other.patch(patch_model(flux), insert)):
        for given in (both, through_a_file(both)):
            taken.clear()
            assert torch.equal(sample(model, given), made)
            assert taken and all(torch.equal(value, torch.ones(1, 3)) for value in taken)


def test_a_tensor_that_the_network_does_not_get_is_an_error(flux):
    def insert(executor, *args, **rest):
        del rest["other_tensor"]
        return executor(*args, **rest)

    other = Carrier("other", frozenset({"other_tensor"}), unpatched="patch it", lost="lost on the way")
    with pytest.raises(InputError, match="lost on the way"):
        sample(other.patch(flux, insert), other.attach(plain(), {"other_tensor": torch.ones(1, 3)}))
    assert other.attach(plain(), {"other_tensor": None})[0][1].keys() == plain()[0][1].keys()
