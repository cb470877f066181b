"""Text tokens in hidden space beside ControlNets, attention masks and FLUXes that are not what they seem."""

from __future__ import annotations

from dataclasses import replace

import comfy.controlnet
import comfy.samplers
import pytest
import torch
from comfy.ldm.flux.model import Flux
from comfy_extras.nodes_custom_sampler import Guider_Basic
from goldens import golden, picture, relative_error
from nodes import ControlNetApplyAdvanced
from pack import NODES

from systems.common.errors import InputError
from systems.common.schedules import flux_sigmas
from systems.qwen2vl_flux.encoder import load_qwen2vl
from systems.qwen2vl_flux.flux import load_transformer, load_vae
from systems.qwen2vl_flux.patch import attach, patch_model

HINT = torch.rand(1, 128, 192, 3, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def flux(tiny):
    return load_transformer(tiny)


@pytest.fixture(scope="module")
def vae(root):
    return load_vae(root / "demo")


@pytest.fixture
def control_net(tiny):
    return comfy.controlnet.load_controlnet(str(tiny / "controlnet" / "diffusion_pytorch_model.safetensors"))


def plain(**options) -> list:
    return [[golden("connector")["connector_a_256"], {"pooled_output": golden("loop_inputs")["pooled"], **options}]]


def prompted(conditioning: list) -> list:
    return attach(conditioning, golden("encoder")["t5_projected"])


def controlled(conditioning: list, control_net, vae) -> list:
    return ControlNetApplyAdvanced().apply_controlnet(conditioning, [], control_net, HINT, 0.5, 0.0, 1.0, vae=vae)[0]


def sample(model, conditioning: list) -> torch.Tensor:
    guider = Guider_Basic(model)
    guider.set_conds(conditioning)
    noise, sigmas = golden("loop_inputs")["noise"][:1], torch.from_numpy(flux_sigmas(3, 1.0, 192, 128))
    sampler = comfy.samplers.sampler_object("euler")
    with torch.inference_mode():
        return guider.sample(noise, torch.zeros_like(noise), sampler, sigmas, disable_pbar=True, seed=0)


def test_control_tokens_are_the_control_nets_own(tiny, flux, vae, control_net):
    """Cut to the common length; the ControlNet sees them, the transformer sees the others."""
    qwen2vl = load_qwen2vl(tiny)
    tokens = qwen2vl.encode(picture("img_crop_301x197.png"), 64)
    control = qwen2vl.encode(picture("astronaut_512.png"), 40)
    length = min(tokens.embeddings.shape[1], control.embeddings.shape[1])
    assert tokens.embeddings.shape[1] != control.embeddings.shape[1]
    ((context, options),) = NODES["Qwen2VLConnector"].execute(qwen2vl, tokens, control_tokens=control).args[0]
    assert torch.equal(context, qwen2vl.connect(tokens)[:, :length])
    assert torch.equal(options["cross_attn_controlnet"], qwen2vl.connect(control)[:, :length])

    seen = {"control net": [], "transformer": []}
    control_net.control_model.txt_in.register_forward_pre_hook(lambda _, args: seen["control net"].append(args[0]))
    flux.model.diffusion_model.txt_in.register_forward_pre_hook(lambda _, args: seen["transformer"].append(args[0]))
    options["pooled_output"] = golden("loop_inputs")["pooled"]
    sample(flux, controlled([[context, options]], control_net, vae))
    assert len(seen["control net"]) == len(seen["transformer"]) == 3
    assert all(torch.equal(given, options["cross_attn_controlnet"]) for given in seen["control net"])
    assert all(torch.equal(given, context) for given in seen["transformer"])


def test_a_control_net_before_or_after_the_prompt(flux, vae, control_net):
    patched = patch_model(flux)
    after = controlled(prompted(plain()), control_net, vae)
    before = prompted(controlled(plain(), control_net, vae))
    latents = sample(patched, after)
    assert torch.equal(sample(patched, before), latents)
    assert relative_error(sample(patched, prompted(plain())), latents) > 1e-3
    assert relative_error(sample(patched, controlled(plain(), control_net, vae)), latents) > 1e-3
    for conditioning in (before, after):
        with pytest.raises(InputError, match="Qwen2VL-Flux Patch Model"):
            sample(flux, conditioning)


class SkipsWrappers(Flux):
    """As packs do that put their own FLUX in place of ComfyUI's."""

    def forward(
        self,
        x,
        timestep,
        context,
        y=None,
        guidance=None,
        ref_latents=None,
        control=None,
        transformer_options=None,
        **rest,
    ):
        return self._forward(x, timestep, context, y, guidance, ref_latents, control, transformer_options)


class SkipsPatches(Flux):
    def forward_orig(self, *args, transformer_options, **rest):
        return super().forward_orig(*args, transformer_options={**transformer_options, "patches": {}}, **rest)


@pytest.mark.parametrize("kind, sentence", [(SkipsWrappers, "would ignore"), (SkipsPatches, "would ignore the prompt")])
def test_a_flux_that_loses_the_prompt_is_stopped(flux, kind, sentence):
    patched = patch_model(flux)
    whole = sample(patched, plain())
    patched.model.diffusion_model.__class__ = kind
    assert torch.equal(sample(patched, plain()), whole)
    with pytest.raises(InputError, match=sentence):
        sample(patched, prompted(plain()))
    patched.model.diffusion_model.__class__ = Flux
    assert torch.isfinite(sample(patched, prompted(plain()))).all()


def test_an_attention_bias_is_widened(flux):
    """As Redux brings one: a bias of 0 over text and picture changes nothing, with a prompt's tokens in between."""
    patched = patch_model(flux)
    places = 256 + 8 * 12
    mask = torch.zeros(1, places, places)
    masked = plain(attention_mask=mask, attention_mask_img_shape=(8, 12))
    assert relative_error(sample(patched, prompted(masked)), sample(patched, prompted(plain()))) < 1e-5
    biased = mask.clone()
    biased[:, :, :256] -= 3.0
    weaker = plain(attention_mask=biased, attention_mask_img_shape=(8, 12))
    assert relative_error(sample(patched, prompted(weaker)), sample(patched, prompted(plain()))) > 1e-3


def test_tokens_of_another_checkpoint(tiny):
    qwen2vl = load_qwen2vl(tiny)
    tokens = qwen2vl.encode(picture("img_crop_301x197.png"), 16)
    with pytest.raises(InputError, match="made by checkpoint 'other'"):
        NODES["Qwen2VLConnector"].execute(qwen2vl, replace(tokens, checkpoint="other"))
