"""Configurations and tensor names as the full-size checkpoints have them: their sizes are known."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from systems.common.comfy.diffusers_flux import transformer_shapes
from systems.common.errors import CheckpointError
from systems.qwen2vl_flux.checkpoint import read_config
from systems.qwen2vl_flux.encoder import encoder_shapes
from systems.qwen2vl_flux.flux import load_vae

FLUX_1_DEV = {
    "_class_name": "FluxTransformer2DModel",
    "_diffusers_version": "0.30.0.dev0",
    "attention_head_dim": 128,
    "guidance_embeds": True,
    "in_channels": 64,
    "joint_attention_dim": 4096,
    "num_attention_heads": 24,
    "num_layers": 19,
    "num_single_layers": 38,
    "patch_size": 1,
    "pooled_projection_dim": 768,
}
FLUX_1_DEV_PARAMETERS = 11_901_408_320

QWEN2_VL_7B = {
    "architectures": ["Qwen2VLSimplifiedModel"],
    "model_type": "qwen2_vl",
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_attention_heads": 28,
    "num_hidden_layers": 28,
    "num_key_value_heads": 4,
    "rms_norm_eps": 1e-06,
    "rope_scaling": {"mrope_section": [16, 24, 24], "rope_type": "default", "type": "default"},
    "rope_theta": 1000000.0,
    "vocab_size": 152064,
}
QWEN2_VL_7B_PARAMETERS = 8_291_375_616 - 152_064 * 3584  # without lm_head
VISION_WRITTEN_OUT = {"depth": 32, "embed_dim": 1280, "mlp_ratio": 4, "num_heads": 16, "patch_size": 14}
VISION_AS_TRANSFORMERS_SAVES_IT = {"in_chans": 3, "model_type": "qwen2_vl", "spatial_patch_size": 14}
PREPROCESSOR = {"min_pixels": 3136, "max_pixels": 12845056, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}


def parameters(shapes: dict[str, tuple[int, ...]]) -> int:
    return sum(math.prod(shape) for shape in shapes.values())


def test_flux_1_dev(tmp_path: Path) -> None:
    """Its own config.json leaves the rotary axes out."""
    path = tmp_path / "config.json"
    path.write_text(json.dumps(FLUX_1_DEV))
    shapes = transformer_shapes(path)
    assert parameters(shapes) == FLUX_1_DEV_PARAMETERS
    assert shapes["context_embedder.weight"] == (3072, 4096)
    assert shapes["single_transformer_blocks.37.proj_mlp.weight"] == (12288, 3072)
    assert shapes["transformer_blocks.18.attn.add_k_proj.bias"] == (3072,)


@pytest.mark.parametrize("vision", [VISION_WRITTEN_OUT, VISION_AS_TRANSFORMERS_SAVES_IT], ids=["whole", "diffed"])
def test_qwen2_vl_7b(tmp_path: Path, vision: dict) -> None:
    """Written out as Qwen does, or as transformers 4.45 saves it: only what differs from its defaults."""
    (tmp_path / "config.json").write_text(json.dumps({**QWEN2_VL_7B, "vision_config": vision}))
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR))
    shapes = encoder_shapes(read_config(tmp_path))
    assert parameters(shapes) == QWEN2_VL_7B_PARAMETERS
    assert shapes["visual.blocks.31.mlp.fc1.weight"] == (5120, 1280)
    assert shapes["model.layers.27.self_attn.v_proj.bias"] == (512,)


def autoencoder_kl() -> dict[str, tuple[int, ...]]:
    """FLUX's autoencoder in diffusers names: widths 128, 256, 512, 512, two layers a block, 16 latent channels."""
    shapes: dict[str, tuple[int, ...]] = {}

    def linear(name: str, *shape: int) -> None:
        shapes.update({f"{name}.weight": shape, f"{name}.bias": shape[:1]})

    def resnet(name: str, inputs: int, outputs: int) -> None:
        linear(f"{name}.norm1", inputs)
        linear(f"{name}.conv1", outputs, inputs, 3, 3)
        linear(f"{name}.norm2", outputs)
        linear(f"{name}.conv2", outputs, outputs, 3, 3)
        if inputs != outputs:
            linear(f"{name}.conv_shortcut", outputs, inputs, 1, 1)

    def middle(name: str) -> None:
        for index in range(2):
            resnet(f"{name}.mid_block.resnets.{index}", 512, 512)
        linear(f"{name}.mid_block.attentions.0.group_norm", 512)
        for part in ("to_q", "to_k", "to_v", "to_out.0"):
            linear(f"{name}.mid_block.attentions.0.{part}", 512, 512)

    widths = [128, 256, 512, 512]
    linear("encoder.conv_in", 128, 3, 3, 3)
    for block, (inputs, outputs) in enumerate(zip([128, *widths[:-1]], widths, strict=True)):
        for layer in range(2):
            resnet(f"encoder.down_blocks.{block}.resnets.{layer}", inputs if layer == 0 else outputs, outputs)
        if block < 3:
            linear(f"encoder.down_blocks.{block}.downsamplers.0.conv", outputs, outputs, 3, 3)
    middle("encoder")
    linear("encoder.conv_norm_out", 512)
    linear("encoder.conv_out", 32, 512, 3, 3)
    linear("decoder.conv_in", 512, 16, 3, 3)
    middle("decoder")
    for block, (inputs, outputs) in enumerate(zip([512, *widths[:0:-1]], widths[::-1], strict=True)):
        for layer in range(3):
            resnet(f"decoder.up_blocks.{block}.resnets.{layer}", inputs if layer == 0 else outputs, outputs)
        if block < 3:
            linear(f"decoder.up_blocks.{block}.upsamplers.0.conv", outputs, outputs, 3, 3)
    linear("decoder.conv_norm_out", 128)
    linear("decoder.conv_out", 3, 128, 3, 3)
    return shapes


@pytest.fixture(scope="module")
def full_size_vae(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("full") / "flux" / "vae"
    folder.mkdir(parents=True)
    generator = torch.Generator().manual_seed(0)
    state = {
        name: (torch.randn(shape, generator=generator) * 0.02).to(torch.bfloat16)
        for name, shape in autoencoder_kl().items()
    }
    save_file(state, folder / "diffusion_pytorch_model.safetensors")
    return folder.parent.parent


def test_autoencoder_kl(full_size_vae: Path) -> None:
    shapes = autoencoder_kl()
    assert parameters(shapes) == 83_819_683
    stored = load_file(full_size_vae / "flux" / "vae" / "diffusion_pytorch_model.safetensors")
    vae = load_vae(full_size_vae)
    native = vae.first_stage_model.state_dict()
    assert len(native) == len(shapes) and vae.latent_channels == 16
    for ours, theirs in {
        "decoder.up.3.block.0.conv1.weight": "decoder.up_blocks.0.resnets.0.conv1.weight",
        "encoder.down.2.downsample.conv.bias": "encoder.down_blocks.2.downsamplers.0.conv.bias",
        "encoder.mid.attn_1.q.weight": "encoder.mid_block.attentions.0.to_q.weight",
    }.items():
        assert torch.equal(native[ours].float().reshape(stored[theirs].shape), stored[theirs].float()), ours


def test_autoencoder_kl_without_a_tensor(full_size_vae: Path, tmp_path: Path) -> None:
    folder = tmp_path / "flux" / "vae"
    folder.mkdir(parents=True)
    state = load_file(full_size_vae / "flux" / "vae" / "diffusion_pytorch_model.safetensors")
    del state["decoder.up_blocks.1.resnets.2.norm2.bias"]
    save_file(state, folder / "diffusion_pytorch_model.safetensors")
    with pytest.raises(CheckpointError, match="lacks decoder.up.2.block.2.norm2.bias"):
        load_vae(tmp_path)
