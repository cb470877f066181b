"""Numbers of the published code, and proof that each wrong way that is easy to take would be seen."""

from __future__ import annotations

from dataclasses import replace

import comfy.samplers
import pytest
import torch
from comfy_extras.nodes_custom_sampler import BasicScheduler, Guider_Basic
from comfy_extras.nodes_model_advanced import ModelSamplingFlux
from goldens import golden, picture, relative_error, stand_in_latent
from nodes import ConditioningZeroOut

from systems.common import schedules
from systems.qwen2vl_flux.dots import parse_dots
from systems.qwen2vl_flux.encoder import load_qwen2vl
from systems.qwen2vl_flux.flux import load_transformer
from systems.qwen2vl_flux.focus import focus_map
from systems.qwen2vl_flux.patch import attach, patch_model

LIMIT = 5e-6
STEPS, WIDTH, HEIGHT = 8, 192, 128


@pytest.fixture(scope="module")
def qwen2vl(tiny):
    return load_qwen2vl(tiny)


@pytest.fixture(scope="module")
def flux(tiny):
    return load_transformer(tiny)


@pytest.mark.parametrize(
    "name, file, budget, grid",
    [
        ("a_256", "astronaut_512.png", 256, (16, 16)),
        ("a_512", "astronaut_512.png", 512, (23, 23)),
        ("crop_256", "img_crop_301x197.png", 256, (13, 20)),
    ],
)
def test_hidden_states(qwen2vl, name, file, budget, grid):
    tokens = qwen2vl.encode(picture(file), budget)
    assert tokens.grid == grid
    assert relative_error(tokens.embeddings, golden("encoder")[f"hidden_{name}"]) <= LIMIT


def test_other_resizes_are_seen(qwen2vl):
    """A tensor resize in place of PIL's bicubic costs far more than the limit."""
    reference = golden("encoder")["hidden_a_256"]
    image = picture("astronaut_512.png").movedim(-1, 1)
    for mode, antialias in (("bicubic", True), ("bicubic", False), ("bilinear", True)):
        resized = torch.nn.functional.interpolate(image, size=(448, 448), mode=mode, antialias=antialias)
        tokens = qwen2vl.encode(resized.clamp(0, 1).movedim(1, -1), 256)
        assert relative_error(tokens.embeddings, reference) > 1e-3


def test_connector(qwen2vl):
    tokens = qwen2vl.encode(picture("astronaut_512.png"), 256)
    own = replace(tokens, embeddings=golden("encoder")["hidden_a_256"])
    reference = golden("connector")["connector_a_256"]
    assert relative_error(qwen2vl.connect(own), reference) <= 1e-6
    assert relative_error(qwen2vl.connect(tokens), reference) <= LIMIT


def test_focus_is_exact(qwen2vl):
    goldens = golden("encoder")
    weights = focus_map(parse_dots('[{"x": 0.5, "y": 0.5, "r": 0.5, "w": 1}]'), 19, 28)
    assert torch.equal(weights, goldens["attn_matrix_c"])
    tokens = qwen2vl.encode(picture("img_crop_301x197.png"), 512)
    assert tokens.grid == (19, 28)
    focused = replace(tokens, embeddings=tokens.embeddings * weights.flatten()[:, None])
    norms = focused.embeddings[0].norm(dim=-1)
    assert relative_error(norms, goldens["focus_crop_512_c_rowl2"]) <= LIMIT
    context = qwen2vl.connect(focused)[0, :8]
    assert relative_error(context, goldens["focus_connector_crop_512_c_first8"].reshape(8, -1)) <= LIMIT
    masked = context[weights.flatten()[:8] == 0]
    assert len(masked) and torch.equal(masked, qwen2vl.network.connector.bias.float().expand_as(masked))


def test_focus_after_the_connector_is_seen(qwen2vl):
    goldens = golden("encoder")
    tokens = qwen2vl.encode(picture("img_crop_301x197.png"), 512)
    late = qwen2vl.connect(tokens)[0, :8] * goldens["attn_matrix_c"].flatten()[:8, None]
    assert relative_error(late, goldens["focus_connector_crop_512_c_first8"].reshape(8, -1)) > 0.1


def test_text_projection(qwen2vl):
    goldens = golden("encoder")
    assert relative_error(qwen2vl.project_text(goldens["t5_raw"]), goldens["t5_projected"]) <= 1e-6


def sample(model, conditioning, guidance, sigmas, latent=None) -> torch.Tensor:
    """Final latents, as FLUX sees them, of the native guider and sampler on the goldens' noise."""
    guider = Guider_Basic(model)
    guider.set_conds([[context, {**options, "guidance": guidance}] for context, options in conditioning])
    noise = golden("loop_inputs")["noise"]
    latent = torch.zeros_like(noise) if latent is None else latent
    sampler = comfy.samplers.sampler_object("euler")
    with torch.inference_mode():
        latents = guider.sample(noise[: len(latent)], latent, sampler, sigmas, disable_pbar=True, seed=0)
    return model.model.process_latent_in(latents.float())


def variation(pooled: bool = True) -> list:
    options = {"pooled_output": golden("loop_inputs")["pooled"]} if pooled else {}
    return [[golden("connector")["connector_a_256"], options]]


def exact_sigmas() -> torch.Tensor:
    return torch.from_numpy(schedules.flux_sigmas(STEPS, 1.0, WIDTH, HEIGHT))


def test_variation(flux):
    latents = sample(patch_model(flux), variation(), 3.5, exact_sigmas())
    assert relative_error(latents, golden("loop_variation")["latents"]) <= LIMIT


def test_exact_sigmas_need_no_model_sampling_node(flux):
    shifted = ModelSamplingFlux().patch(flux, 1.15, 0.5, WIDTH, HEIGHT)[0]
    plain = sample(flux, variation(), 3.5, exact_sigmas())
    assert torch.equal(sample(shifted, variation(), 3.5, exact_sigmas()), plain)


def test_variation_with_a_prompt(flux):
    conditioning = attach(variation(), golden("encoder")["t5_projected"])
    latents = sample(patch_model(flux), conditioning, 7.5, exact_sigmas())
    assert relative_error(latents, golden("loop_variation_t5")["latents"]) <= LIMIT


def test_image_to_image(flux):
    """By hand, as the README says: the picture's latent, and Qwen2VL-Flux Sigmas at strength 0.8."""
    conditioning = attach(variation(), golden("encoder")["t5_projected"])
    latent, reference = stand_in_latent(picture("img_a_192x128.png")), golden("loop_img2img")["latents"]
    patched = patch_model(flux)
    sigmas = torch.from_numpy(schedules.flux_sigmas(STEPS, 0.8, WIDTH, HEIGHT))
    assert relative_error(sample(patched, conditioning, 3.5, sigmas, latent), reference) <= LIMIT
    (native,) = BasicScheduler.execute(patched, "simple", STEPS, 0.8).args
    assert relative_error(sample(patched, conditioning, 3.5, native, latent), reference) > 0.05


def test_wrong_settings_are_seen(flux):
    reference = golden("loop_variation")["latents"]
    simple = comfy.samplers.calculate_sigmas(flux.get_model_object("model_sampling"), "simple", STEPS)
    assert relative_error(sample(flux, variation(), 3.5, simple), reference) > 0.05
    assert relative_error(sample(flux, variation(pooled=False), 3.5, exact_sigmas()), reference) > 0.05
    assert relative_error(sample(flux, variation(), 3.0, exact_sigmas()), reference) > 0.05


def test_a_dropped_prompt_is_seen(flux):
    reference = golden("loop_variation_t5")["latents"]
    assert relative_error(sample(flux, variation(), 7.5, exact_sigmas()), reference) > 5e-3


def test_tokens_sent_as_context_are_seen(flux):
    """T5's raw output through `txt_in`, as an ordinary FLUX would take it, is not the published path."""
    context, options = variation()[0]
    joined = [[torch.cat((context, golden("encoder")["t5_raw"]), dim=1), options]]
    reference = golden("loop_variation_t5")["latents"]
    assert relative_error(sample(flux, joined, 7.5, exact_sigmas()), reference) > 5e-3


def test_a_zeroed_conditioning_has_no_prompt_left(flux):
    """ConditioningZeroOut zeroes context and pooled vector but not the text tokens, which must vanish all the same."""
    patched = patch_model(flux)
    prompt = golden("encoder")["t5_projected"]

    def zeroed(hidden) -> torch.Tensor:
        (conditioning,) = ConditioningZeroOut().zero_out(attach(variation(), hidden))
        return sample(patched, conditioning, 7.5, exact_sigmas())

    assert torch.equal(zeroed(prompt), zeroed(prompt.flip(1)))
    kept = sample(patched, attach(variation(), prompt), 7.5, exact_sigmas())
    turned = sample(patched, attach(variation(), -prompt), 7.5, exact_sigmas())
    assert relative_error(turned, kept) > 1e-3


def test_schedule():
    for name in ("loop_variation", "loop_variation_t5"):
        assert torch.equal(exact_sigmas(), golden(name)["sigmas"])


@pytest.mark.parametrize(
    "steps, strength, run", [(28, 0.8, 23), (8, 0.8, 7), (28, 0.7, 20), (28, 1.0, 28), (28, 0.0, 0)]
)
def test_steps_left_by_a_strength(steps, strength, run):
    full = schedules.flux_sigmas(steps, 1.0, 1024, 1024)
    part = schedules.flux_sigmas(steps, strength, 1024, 1024)
    assert len(part) == run + 1
    assert (part == full[steps - run :]).all()
