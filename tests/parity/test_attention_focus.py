"""Mode `attention` of the focus: weights 0 and 1 are those of `drop`, in between it is gradual, in any company."""

from __future__ import annotations

import itertools

import comfy.ldm.modules.attention as backends
import comfy.samplers
import numpy as np
import pytest
import torch
from comfy_extras.nodes_custom_sampler import Guider_Basic
from goldens import StandInVAE, golden, picture, relative_error
from nodes import ConditioningZeroOut, ControlNetApplyAdvanced
from PIL import Image
from two_steps import sample

from systems.common.comfy.attention_bias import add_bias, key_mask
from systems.common.errors import InputError
from systems.common.schedules import flux_sigmas
from systems.flux_union.checkpoint import load_controlnet
from systems.flux_union.control import prepare_control_net
from systems.qwen2vl_flux.conditioning import build_conditioning
from systems.qwen2vl_flux.dots import parse_dots
from systems.qwen2vl_flux.encoder import load_qwen2vl
from systems.qwen2vl_flux.flux import load_transformer
from systems.qwen2vl_flux.focus import apply_focus, focus_map
from systems.qwen2vl_flux.patch import attach, patch_model

LIMIT = 1e-5


@pytest.fixture(scope="module")
def qwen2vl(tiny):
    return load_qwen2vl(tiny)


@pytest.fixture(scope="module")
def tokens(qwen2vl):
    return qwen2vl.encode(picture("img_crop_301x197.png"), 64)


@pytest.fixture(scope="module")
def flux(tiny):
    return patch_model(load_transformer(tiny))


@pytest.fixture
def union(tiny):
    return prepare_control_net(load_controlnet(tiny / "controlnet"), "depth")


def half(tokens, low: float = 0.0) -> torch.Tensor:
    """Weight 1 on the left half of the grid, `low` on the right one."""
    weights = torch.ones(1, *tokens.grid)
    weights[:, :, tokens.grid[1] // 2 :] = low
    return weights


def conditioning(qwen2vl, tokens, prompt: bool = False, control_tokens=None, strength: float = 1.0) -> list:
    given = build_conditioning(qwen2vl, tokens, control_tokens=control_tokens, strength=strength)
    given[0][1]["pooled_output"] = golden("loop_inputs")["pooled"]
    return attach(given, golden("encoder")["t5_projected"]) if prompt else given


def controlled(given: list, net, strength: float = 0.5) -> list:
    hint = picture("control_depth_192x128.png")
    return ControlNetApplyAdvanced().apply_controlnet(given, [], net, hint, strength, 0.0, 1.0, vae=StandInVAE())[0]


@pytest.mark.parametrize("prompt", [False, True], ids=["plain", "prompt"])
@pytest.mark.parametrize("batch", [1, 2])
def test_weights_of_0_and_1_are_a_drop(flux, qwen2vl, tokens, prompt, batch):
    def latents(mode: str) -> torch.Tensor:
        return sample(flux, conditioning(qwen2vl, apply_focus(tokens, half(tokens), mode), prompt), batch=batch)

    assert relative_error(latents("attention"), latents("drop")) <= LIMIT
    assert relative_error(latents("scale"), latents("drop")) > 1e-3
    whole = sample(flux, conditioning(qwen2vl, tokens, prompt), batch=batch)
    assert relative_error(whole, latents("drop")) > 1e-3


@pytest.mark.parametrize("prompt", [False, True], ids=["plain", "prompt"])
def test_a_controlnet_hears_it_too(flux, qwen2vl, tokens, union, prompt):
    def latents(mode: str) -> torch.Tensor:
        return sample(flux, controlled(conditioning(qwen2vl, apply_focus(tokens, half(tokens), mode), prompt), union))

    attention, drop = latents("attention"), latents("drop")
    assert relative_error(attention, drop) <= LIMIT
    native = union.copy()
    native.__class__ = type(union).__mro__[1]
    ignored = controlled(conditioning(qwen2vl, apply_focus(tokens, half(tokens), "attention"), prompt), native)
    assert relative_error(sample(flux, ignored), drop) > 1e-4


def test_tokens_for_the_controlnet_alone(flux, qwen2vl, tokens, union):
    """Each side has its own weights: those of the other do not reach it."""
    thin = apply_focus(tokens, half(tokens), "drop")
    watched = apply_focus(tokens, half(tokens), "attention")
    for ours, control, drops, control_drops in (
        (watched, tokens, thin, tokens),
        (tokens, watched, tokens, thin),
        (watched, watched, thin, thin),
    ):
        attention = controlled(conditioning(qwen2vl, ours, control_tokens=control), union)
        drop = controlled(conditioning(qwen2vl, drops, control_tokens=control_drops), union)
        assert relative_error(sample(flux, attention), sample(flux, drop)) <= LIMIT


def test_weight_1_everywhere_is_no_focus(flux, qwen2vl, tokens):
    focus = apply_focus(tokens, torch.ones(1, *tokens.grid), "attention")
    plain = conditioning(qwen2vl, tokens)
    assert "control" not in conditioning(qwen2vl, focus)[0][1]
    assert torch.equal(sample(flux, conditioning(qwen2vl, focus)), sample(flux, plain))


def test_in_between_it_is_gradual(flux, qwen2vl, tokens):
    """The farther from 1, the farther from no focus and the nearer to a drop."""
    drop = sample(flux, conditioning(qwen2vl, apply_focus(tokens, half(tokens), "drop")))
    whole = sample(flux, conditioning(qwen2vl, tokens))
    made = [
        sample(flux, conditioning(qwen2vl, apply_focus(tokens, half(tokens, low), "attention")))
        for low in (1.0, 0.8, 0.6, 0.4, 0.2, 0.05, 0.0)
    ]
    from_whole = [relative_error(latents, whole) for latents in made]
    from_drop = [relative_error(latents, drop) for latents in made]
    assert all(one < other for one, other in itertools.pairwise(from_whole))
    assert all(one > other for one, other in itertools.pairwise(from_drop))


def test_the_strength_of_the_reference_is_a_weight_of_all_tokens(flux, qwen2vl, tokens):
    everywhere = apply_focus(tokens, torch.full((1, *tokens.grid), 0.3), "attention")
    given = conditioning(qwen2vl, tokens, strength=0.3)
    assert relative_error(sample(flux, given), sample(flux, conditioning(qwen2vl, everywhere))) <= LIMIT
    watched = apply_focus(tokens, half(tokens, 0.5), "attention")
    both = apply_focus(tokens, half(tokens, 0.5) * 0.3, "attention")
    given = conditioning(qwen2vl, watched, strength=0.3)
    assert relative_error(sample(flux, given), sample(flux, conditioning(qwen2vl, both))) <= LIMIT
    assert "control" not in conditioning(qwen2vl, tokens, strength=1.0)[0][1]


def test_the_less_strength_the_less_of_the_reference(flux, qwen2vl, tokens):
    """Down to nothing of it: at 0 the prompt alone is left."""
    strengths = (1.0, 0.6, 0.3, 0.1, 0.0)
    made = [sample(flux, conditioning(qwen2vl, tokens, True, strength=strength)) for strength in strengths]
    away = [relative_error(latents, made[0]) for latents in made]
    assert all(one < other for one, other in itertools.pairwise(away))
    other = qwen2vl.encode(picture("astronaut_512.png"), 64)
    other_made = sample(flux, conditioning(qwen2vl, other, True, strength=0.0))
    assert relative_error(other_made, made[-1]) <= LIMIT
    assert relative_error(sample(flux, conditioning(qwen2vl, other, True)), made[0]) > 1e-3


def test_the_strength_leaves_a_controlnet_its_tokens(flux, qwen2vl, tokens, union):
    """Whether they are those of the reference or of another picture; a focus on the reference still reaches it."""

    def latents(given: list) -> torch.Tensor:
        return sample(flux, controlled(given, union))

    everywhere = apply_focus(tokens, torch.full((1, *tokens.grid), 0.3), "attention")
    weak = latents(conditioning(qwen2vl, tokens, strength=0.3))
    assert relative_error(weak, latents(conditioning(qwen2vl, everywhere, control_tokens=tokens))) <= LIMIT
    assert torch.equal(latents(conditioning(qwen2vl, tokens, control_tokens=tokens, strength=0.3)), weak)
    assert relative_error(weak, latents(conditioning(qwen2vl, everywhere))) > 1e-4


def test_cfg_with_a_focus_on_one_side(flux, qwen2vl, tokens):
    positive = {mode: conditioning(qwen2vl, apply_focus(tokens, half(tokens), mode)) for mode in ("attention", "drop")}
    negative = conditioning(qwen2vl, tokens)
    attention, drop = (sample(flux, positive[mode], negative, cfg=2.0) for mode in ("attention", "drop"))
    assert relative_error(attention, drop) <= LIMIT
    (zeroed,) = ConditioningZeroOut().zero_out(positive["attention"])
    assert torch.isfinite(sample(flux, positive["attention"], zeroed, cfg=2.0)).all()


def test_two_pictures_with_weights_of_their_own(flux, qwen2vl):
    pair = torch.cat([picture("img_a_192x128.png"), picture("control_depth_192x128.png")])
    tokens = qwen2vl.encode(pair, 64)
    weights = torch.cat([half(tokens), half(tokens).flip(2)])
    both = sample(flux, conditioning(qwen2vl, apply_focus(tokens, weights, "attention")), batch=2)
    for number in (0, 1):
        one = qwen2vl.encode(pair[number : number + 1], 64)
        given = conditioning(qwen2vl, apply_focus(one, weights[number : number + 1], "drop"))
        alone = sample(flux, given, batch=2)[number : number + 1]
        assert relative_error(both[number : number + 1], alone) <= LIMIT


def test_an_attention_mask_that_was_there(flux, qwen2vl, tokens):
    """As Redux brings one, over text and picture: a bias of 0 changes nothing, another one stays in force."""
    count = tokens.count + 8 * 12

    def latents(mask: torch.Tensor | None, mode: str = "attention", prompt: bool = True) -> torch.Tensor:
        given = conditioning(qwen2vl, apply_focus(tokens, half(tokens), mode), prompt)
        if mask is not None:
            given[0][1].update(attention_mask=mask, attention_mask_img_shape=(8, 12))
        return sample(flux, given)

    assert relative_error(latents(torch.zeros(1, count, count)), latents(None, "drop")) <= LIMIT
    strong = torch.zeros(1, count, count)
    strong[:, :, tokens.count :] = 1.0
    assert relative_error(latents(strong), latents(None)) > 1e-3


def test_another_patch_of_attention_stays(flux, qwen2vl, tokens):
    seen = []
    model = flux.clone()
    model.set_model_attn1_patch(lambda q, k, v, **rest: seen.append(rest["attn_mask"]) or {"q": q * 0.5})
    given = conditioning(qwen2vl, apply_focus(tokens, half(tokens), "attention"))
    other, plain = sample(model, given), sample(flux, given)
    assert seen and relative_error(other, plain) > 1e-4
    dropped = sample(model, conditioning(qwen2vl, apply_focus(tokens, half(tokens), "drop")))
    assert relative_error(other, dropped) <= LIMIT


@pytest.mark.parametrize("backend", ["attention_basic", "attention_split", "attention_sub_quad", "attention_pytorch"])
def test_every_attention_of_comfyui_takes_the_bias(backend):
    """A row for all queries, in whichever way ComfyUI computes attention on this machine."""
    dice = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, 4, 24, 16, generator=dice) for _ in range(3))
    weights = torch.rand(2, 10, generator=dice)
    weights[:, 3] = 0
    mask = key_mask(weights.log(), 2, 24)
    assert mask.shape == (2, 1, 1, 24)
    logits = q @ k.transpose(-1, -2) / 4 + mask
    wanted = (logits.softmax(-1) @ v).transpose(1, 2).flatten(2)
    made = getattr(backends, backend)(q, k, v, 4, mask=mask, skip_reshape=True)
    assert relative_error(made, wanted) <= LIMIT


def test_the_bias_is_one_row_for_all():
    same = key_mask(torch.tensor([[0.5, 0.0]]).log().expand(3, -1), 1, 6)
    assert same.shape == (1, 1, 1, 6) and same[0, 0, 0].tolist() == pytest.approx(
        [0, -0.6931, -torch.inf, 0, 0, 0], abs=1e-4
    )
    kept = torch.tensor([[True, False]])
    assert add_bias(kept, torch.zeros(1, 1, 1, 2)).tolist() == [[[[0.0, -torch.inf]]]]


def test_an_unpatched_flux_is_stopped(tiny, qwen2vl, tokens):
    given = conditioning(qwen2vl, apply_focus(tokens, half(tokens), "attention"))
    with pytest.raises(InputError, match="in Qwen2VL-Flux's own form, which this MODEL would ignore"):
        sample(load_transformer(tiny), given)
    plain = conditioning(qwen2vl, apply_focus(tokens, half(tokens), "drop"))
    assert torch.isfinite(sample(load_transformer(tiny), plain)).all()


def test_it_is_gradual_on_the_demo_checkpoint(root):
    """The weight of what lies beside the yellow circle, from 1 to 0: each step takes the picture farther from no focus,
    and its cyan square with it."""
    folder = root / "demo"
    qwen2vl, model = load_qwen2vl(folder), patch_model(load_transformer(folder))
    image = torch.from_numpy(np.asarray(Image.open(folder / "reference.png").convert("RGB"), np.float32) / 255)[None]
    tokens = qwen2vl.encode(image)
    circle = focus_map(parse_dots('[{"x": 0.28, "y": 0.68, "r": 0.5}]'), *tokens.grid)[None] > 0
    noise = torch.randn(1, 16, 16, 16, generator=torch.Generator().manual_seed(4))
    sigmas = torch.from_numpy(flux_sigmas(8, 1.0, 128, 128))

    def latents(low: float) -> torch.Tensor:
        weights = torch.where(circle, 1.0, low)
        guider = Guider_Basic(model)
        guider.set_conds(build_conditioning(qwen2vl, apply_focus(tokens, weights, "attention")))
        sampler = comfy.samplers.sampler_object("euler")
        with torch.inference_mode():
            return guider.sample(noise, torch.zeros_like(noise), sampler, sigmas, disable_pbar=True, seed=0)

    made = [latents(low) for low in (1.0, 0.5, 0.25, 0.1, 0.03, 0.01, 0.0)]
    away = [((one - made[0]) ** 2).mean().item() for one in made]
    assert all(one < other for one, other in itertools.pairwise(away)), away
