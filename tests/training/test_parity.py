"""The training's networks give the numbers that the pack's nodes give: what is learnt is what will run."""

from __future__ import annotations

import json
from pathlib import Path

import comfy.latent_formats
import pytest
import torch
from diffusers import AutoencoderKL
from goldens import relative_error
from safetensors.torch import save_file

from systems.qwen2vl_flux.encoder import load_qwen2vl
from systems.qwen2vl_flux.flux import load_text_encoders, load_transformer, load_vae
from systems.qwen2vl_flux.preprocess import patches_of
from systems.qwen2vl_flux.prompts import encode_prompt
from training.qwen2vl_flux.autoencoder import read_autoencoder
from training.qwen2vl_flux.batch import Patches
from training.qwen2vl_flux.networks import read_networks
from training.qwen2vl_flux.texts import pooled_of_nothing, read_t5

LIMIT = 1e-5


def picture(height: int, width: int, seed: int = 0) -> torch.Tensor:
    """[H, W, 3] in whole steps of 1/255."""
    values = torch.rand(height, width, 3, generator=torch.Generator().manual_seed(seed))
    return (values * 255).round() / 255


@pytest.fixture(scope="module")
def networks(demo):
    return read_networks(demo, lambda double, single: (), 1)


@pytest.fixture(scope="module")
def qwen2vl(demo):
    return load_qwen2vl(demo)


@pytest.mark.parametrize("height, width", [(128, 128), (64, 128), (301, 197), (40, 1000), (128, 48)])
def test_hidden_states(networks, qwen2vl, height, width):
    image = picture(height, width)
    patches, (rows, columns) = patches_of(image, qwen2vl.config, 0)
    states = networks.qwen(Patches(patches, rows, columns))
    assert relative_error(states.detach(), qwen2vl.encode(image[None]).embeddings.float()) <= LIMIT


def test_hidden_states_of_a_batch(networks, qwen2vl):
    """Pictures of a batch do not see each other."""
    patches = [patches_of(picture(96, 160, seed), qwen2vl.config, 0) for seed in range(3)]
    grid = patches[0][1]
    together = networks.qwen(Patches(torch.cat([each for each, _ in patches]), *grid))
    for each, (alone, _) in zip(together, patches, strict=True):
        assert relative_error(each.detach(), networks.qwen(Patches(alone, *grid))[0].detach()) <= LIMIT
    assert relative_error(together[0].detach(), together[1].detach()) > 0.01


def test_gradients_of_the_encoder(networks, qwen2vl):
    """Those of its last layer equal the pack's own network's; nothing before it has any."""
    patches, grid = patches_of(picture(64, 128), qwen2vl.config, 0)
    own = qwen2vl.network
    trained = {name: value for name, value in networks.qwen.named_parameters() if value.requires_grad}
    generator = torch.Generator().manual_seed(0)
    states = networks.qwen(Patches(patches, *grid))
    weight = torch.randn(states.shape, generator=generator)
    (states * weight).sum().backward()
    state = dict(own.named_parameters())
    try:
        for name in trained:
            state[name].data = state[name].data.float()
            state[name].requires_grad_(True)
        (own(patches, *grid) * weight).sum().backward()
        for name, value in trained.items():
            assert relative_error(value.grad, state[name].grad) <= 10 * LIMIT  # those of biases of keys nearly cancel
    finally:
        own.requires_grad_(False)
    assert all(value.grad is None for value in networks.qwen.parameters() if not value.requires_grad)


@pytest.mark.parametrize("prompt", [False, True])
def test_velocity(networks, demo, prompt):
    """Oblong latents, a time and a guidance for each picture, against ComfyUI's own FLUX."""
    generator = torch.Generator().manual_seed(0)
    config = networks.flux.config
    latents = torch.randn(2, 16, 6, 10, generator=generator)
    context = torch.randn(2, 12, config.joint_attention_dim, generator=generator)
    pooled = torch.randn(2, config.pooled_projection_dim, generator=generator)
    time, guidance = torch.tensor([0.2, 0.9]), torch.tensor([30.0, 1.0])
    words = torch.randn(2, 5, networks.flux.inner_dim, generator=generator) if prompt else None
    flux = load_transformer(demo).model.diffusion_model.float()
    patches = {"post_input": [lambda given: {**given, "txt": torch.cat((given["txt"][:, :12], words), dim=1)}]}
    padded = torch.cat((context, torch.zeros(2, 5, context.shape[2])), dim=1) if prompt else context
    options = {"patches": patches} if prompt else {}
    with torch.no_grad():
        velocity = networks.velocity(latents, time, context, pooled, guidance, words)
        expected = flux(latents, time, padded, pooled, guidance, transformer_options=options)
        assert relative_error(velocity, expected) <= LIMIT
        other = networks.velocity(latents, time, context, pooled, guidance.flip(0), words)
        assert relative_error(other, expected) > 100 * LIMIT


@pytest.mark.parametrize("height, width", [(128, 128), (64, 128), (128, 48)])
def test_latents(demo, height, width):
    same_as_comfyui(demo, height, width)


def test_latents_of_the_full_size(demo, tmp_path):
    """FLUX's own autoencoder, with random weights."""
    torch.manual_seed(0)
    network = AutoencoderKL(
        block_out_channels=(128, 256, 512, 512),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        latent_channels=16,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )
    place = tmp_path / "flux" / "vae"
    place.mkdir(parents=True)
    config = {name: value for name, value in network.config.items() if not name.startswith("_")}
    (place / "config.json").write_text(json.dumps({"_class_name": "AutoencoderKL", **config}))
    save_file(network.state_dict(), place / "diffusion_pytorch_model.safetensors")
    same_as_comfyui(tmp_path, 48, 64)


def same_as_comfyui(checkpoint: Path, height: int, width: int) -> None:
    """Latents of a picture and the picture of latents are those of ComfyUI's VAE and latent format."""
    image = picture(height, width)
    autoencoder, vae, flux = read_autoencoder(checkpoint), load_vae(checkpoint), comfy.latent_formats.Flux()
    latents = autoencoder.encode(image.movedim(-1, 0)[None])
    assert latents.shape == (1, 16, height // 8, width // 8)
    expected = flux.process_in(vae.encode(image[None]))
    assert relative_error(latents, expected) <= LIMIT
    assert relative_error(latents, vae.encode(image[None])) > 0.01  # the scale counts
    decoded = autoencoder.decode(latents)[0].movedim(0, -1)
    assert relative_error(decoded, vae.decode(flux.process_out(latents))[0]) <= LIMIT


def test_texts(with_tokenizer):
    clip = load_text_encoders(with_tokenizer, t5=True)
    t5 = read_t5(with_tokenizer, torch.float32)
    prompts = ["a cat", "a small red circle beside a yellow triangle, " * 40]
    states = t5(prompts)
    for prompt, each in zip(prompts, states, strict=True):
        text, pooled = encode_prompt(clip, prompt)
        assert relative_error(each[None], text.float()) <= LIMIT
        assert relative_error(pooled_of_nothing(with_tokenizer), pooled.float()) <= LIMIT
    assert relative_error(states[0], states[1]) > 0.01
