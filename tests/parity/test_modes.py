"""The final latents of every mode, out of the pack's own nodes and ComfyUI's, and what each wrong setting costs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from comfy_extras.nodes_controlnet import SetUnionControlNetType
from comfy_extras.nodes_custom_sampler import BasicGuider, KSamplerSelect, SamplerCustomAdvanced
from comfy_extras.nodes_flux import FluxGuidance
from comfy_extras.nodes_sd3 import EmptySD3LatentImage
from goldens import DATA, StandInVAE, golden, picture, relative_error
from nodes import ControlNetApplyAdvanced, SetLatentNoiseMask, VAEEncode
from pack import NODES
from PIL import Image

from systems.flux_union.checkpoint import load_controlnet
from systems.qwen2vl_flux.conditioning import build_conditioning
from systems.qwen2vl_flux.encoder import load_qwen2vl
from systems.qwen2vl_flux.flux import load_transformer
from systems.qwen2vl_flux.patch import attach, patch_model
from systems.qwen2vl_flux.tokens import ImageTokens

LIMIT = 5e-6
STEPS, STRENGTH = 8, 0.8
DEPTH, LINE = ("depth", "depth", 0.2), ("line", "canny", 0.4)
VAE = StandInVAE()


@pytest.fixture(scope="module")
def model(tiny):
    return patch_model(load_transformer(tiny))


@pytest.fixture(scope="module")
def control_net(tiny):
    return load_controlnet(tiny / "controlnet")


class Noise:
    """NOISE that is the goldens' own."""

    seed = 0

    def generate_noise(self, latent: dict) -> torch.Tensor:
        return golden("loop_inputs")["noise"][: len(latent["samples"])]


def mask() -> torch.Tensor:
    """The goldens' soft mask as a ComfyUI MASK."""
    return torch.from_numpy(np.asarray(Image.open(DATA / "mask_192x128.png"), dtype=np.float32))[None] / 255


Conditioning = Callable[..., list]


@pytest.fixture(scope="module")
def conditioning(tiny) -> Conditioning:
    """What Qwen2VL Connector makes of the goldens' tokens of picture a, for FLUX and for the ControlNet.

    With tokens "b" FLUX gets the goldens' context b in its place, which is of no picture; the pooled vector is theirs.
    """
    qwen2vl = load_qwen2vl(tiny)
    a = ImageTokens(golden("encoder")["hidden_a_256"], (16, 16), picture("astronaut_512.png"), qwen2vl.name)

    def make(prompt: bool = False, tokens: str = "b", control_tokens: bool = True) -> list:
        ((context, options),) = build_conditioning(qwen2vl, a, control_tokens=a if control_tokens else None)
        context = golden("loop_inputs")["prompt_embeds_b"] if tokens == "b" else context
        plain = [[context, {**options, "pooled_output": golden("loop_inputs")["pooled"]}]]
        return attach(plain, qwen2vl.project_text(golden("encoder")["t5_raw"])) if prompt else plain

    return make


def controlled(given: list, control_net, hints, node=NODES["FluxUnionControlMode"]) -> list:
    """The conditioning after a chain of ControlNets in the published order."""
    for name, mode, scale in hints:
        one = node.execute(control_net, mode)[0]
        hint = picture(f"control_{name}_192x128.png")
        given, _ = ControlNetApplyAdvanced().apply_controlnet(given, [], one, hint, scale, 0.0, 1.0, vae=VAE)
    return given


def sample(model, given: list, *, latent: dict | None = None, guidance=3.5, strength=STRENGTH) -> torch.Tensor:
    """Final latents as FLUX sees them; without a latent the picture's own size starts from pure noise."""
    noise, pure = Noise(), latent is None
    latent = EmptySD3LatentImage.execute(192, 128, 1)[0] if pure else latent
    sigmas = NODES["Qwen2VLFluxSigmas"].execute(STEPS, strength, latent)[0]
    if pure:
        noise = NODES["Qwen2VLFluxPureNoise"].execute(noise, sigmas)[0]
    guider = BasicGuider.execute(model, FluxGuidance.execute(given, guidance)[0])[0]
    sampler = KSamplerSelect.execute("euler")[0]
    with torch.inference_mode():
        done = SamplerCustomAdvanced.execute(noise, guider, sampler, sigmas, latent)[0]
    return model.model.process_latent_in(done["samples"].float())


def image_latent(masked: bool = False, soft: bool = False) -> dict:
    image, prepared, *_ = NODES["Qwen2VLFluxPrepareImage"].execute(picture("img_a_192x128.png"), mask()).args
    (latent,) = VAEEncode().encode(VAE, image)
    if not masked:
        return latent
    return SetLatentNoiseMask().set_mask(latent, mask() if soft else prepared)[0]


def error(latents: torch.Tensor, name: str) -> float:
    return relative_error(latents, golden(f"loop_{name}")["latents"])


def test_the_picture_is_taken_as_it_is():
    image, _, width, height = NODES["Qwen2VLFluxPrepareImage"].execute(picture("img_a_192x128.png")).args
    assert torch.equal(image, picture("img_a_192x128.png")) and (width, height) == (192, 128)


def test_image_to_image(model, conditioning):
    given = conditioning(prompt=True, tokens="a", control_tokens=False)
    assert error(sample(model, given, latent=image_latent()), "img2img") <= LIMIT


def test_inpaint(model, conditioning):
    given = conditioning(prompt=False, tokens="a", control_tokens=False)
    assert error(sample(model, given, latent=image_latent(masked=True)), "inpaint") <= LIMIT
    assert error(sample(model, given, latent=image_latent(masked=True, soft=True)), "inpaint") > 0.1


@pytest.mark.parametrize(
    "name, prompt, hints, masked",
    [
        ("controlnet", False, (DEPTH, LINE), False),
        ("controlnet_t5", True, (DEPTH, LINE), False),
        ("controlnet_depth_only", False, (DEPTH,), False),
        ("controlnet_inpaint_depth_only", False, (DEPTH,), True),
    ],
)
def test_controlnet(model, control_net, name, prompt, hints, masked, conditioning):
    given = controlled(conditioning(prompt), control_net, hints)
    latent = image_latent(masked=True) if masked else None
    assert error(sample(model, given, latent=latent), name) <= LIMIT


def test_the_published_inpainting_drops_the_second_hint(model, control_net, conditioning):
    """Its golden with both hints equals the one with depth alone; ours hears both."""
    both, depth = golden("loop_controlnet_inpaint")["latents"], golden("loop_controlnet_inpaint_depth_only")["latents"]
    assert torch.equal(both, depth)
    latents = sample(model, controlled(conditioning(), control_net, (DEPTH, LINE)), latent=image_latent(masked=True))
    assert error(latents, "controlnet_inpaint") > 1e-3


def test_a_controlnet_that_starts_from_the_picture_is_another(model, control_net, conditioning):
    """The picture enters by default; the published start from pure noise takes Qwen2VL-Flux Pure Noise."""
    given = controlled(conditioning(), control_net, (DEPTH, LINE))
    assert error(sample(model, given, latent=image_latent()), "controlnet") > 0.05


class Wrong:
    """A ControlNet in a mode of ComfyUI's own numbering, which is that of SDXL."""

    @staticmethod
    def execute(control_net, mode: str):
        names = {"depth": "depth", "canny": "canny/lineart/anime_lineart/mlsd"}
        return SetUnionControlNetType.execute(control_net, names[mode])


class Native:
    """A native ControlNet in the right mode, set by hand."""

    @staticmethod
    def execute(control_net, mode: str):
        one = control_net.copy()
        one.set_extra_arg("control_type", [{"canny": 0, "depth": 2}[mode]])
        return (one,)


def test_wrong_controlnet_settings_are_seen(model, control_net, conditioning):
    def failed(given: list) -> float:
        return error(sample(model, given), "controlnet")

    hints = (DEPTH, LINE)
    swapped = (("depth", "canny", 0.2), ("line", "depth", 0.4))
    assert failed(controlled(conditioning(control_tokens=False), control_net, hints)) > 0.03
    assert failed(controlled(conditioning(tokens="a"), control_net, hints)) > 0.03
    assert failed(controlled(conditioning(), control_net, swapped)) > 1e-3
    assert failed(controlled(conditioning(), control_net, hints, node=Wrong)) > 1e-3
    assert failed(controlled(conditioning(), control_net, (DEPTH,))) > 1e-3
    assert failed(conditioning()) > 1e-3


def test_a_prompt_dropped_on_the_way_is_seen(model, control_net, conditioning):
    """In both networks, and in the ControlNet alone: the native one set to the right number knows nothing of it."""
    everywhere = sample(model, controlled(conditioning(prompt=False), control_net, (DEPTH, LINE)))
    assert error(everywhere, "controlnet_t5") > 3e-3

    alone = sample(model, controlled(conditioning(prompt=True), control_net, (DEPTH, LINE), node=Native))
    assert error(alone, "controlnet_t5") > 3e-3


def test_wrong_settings_of_a_redrawn_picture_are_seen(model, conditioning):
    given = conditioning(prompt=True, tokens="a", control_tokens=False)
    latent = image_latent()
    assert error(sample(model, given, latent=latent, guidance=3.0), "img2img") > 1e-2
    assert error(sample(model, given, latent=latent, strength=0.7), "img2img") > 1e-2
    unpooled = [[context, {**options, "pooled_output": None}] for context, options in given]
    assert error(sample(model, unpooled, latent=latent), "img2img") > 1e-2
    other = conditioning(prompt=True, tokens="b", control_tokens=False)
    assert error(sample(model, other, latent=latent), "img2img") > 1e-2
