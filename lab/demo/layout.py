"""The folder in the published layout that the embedded checkpoint's training starts from, and ends in."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel
from huggingface_hub import save_torch_state_dict
from safetensors.torch import save_file
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel

from training.qwen2vl_flux.encoder import Qwen2VLEncoder

from ..world.references import PIXELS
from . import autoencoder
from .encoder import WIDTH

# The chat text before the image in a vocabulary of its own: the published ids, numbered as they first appear.
PREFIX_IDS = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 2, 0, 10, 2, 11)
VOCABULARY = 16

# The encoder's config.json, flat as the published one is.
CONFIG = {
    "architectures": ["Qwen2VLSimplifiedModel"],
    "attention_dropout": 0.0,
    "bos_token_id": 0,
    "eos_token_id": 9,
    "hidden_act": "silu",
    "hidden_size": WIDTH,
    "image_prefix_ids": PREFIX_IDS,
    "image_token_id": 12,
    "initializer_range": 0.02,
    "intermediate_size": 2 * WIDTH,
    "max_position_embeddings": 4096,
    "model_type": "qwen2_vl",
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-06,
    "rope_scaling": {"mrope_section": [4, 6, 6], "type": "mrope"},
    "rope_theta": 1000000.0,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "video_token_id": 13,
    "vision_config": {
        "depth": 3,
        "embed_dim": WIDTH,
        "hidden_act": "quick_gelu",
        "hidden_size": WIDTH,
        "in_channels": 3,
        "mlp_ratio": 4,
        "model_type": "qwen2_vl",
        "num_heads": 4,
        "patch_size": 14,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
    },
    "vision_end_token_id": 14,
    "vision_start_token_id": 11,
    "vocab_size": VOCABULARY,
}

PREPROCESSOR = {
    "min_pixels": PIXELS,
    "max_pixels": PIXELS,
    "patch_size": 14,
    "temporal_patch_size": 2,
    "merge_size": 2,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "image_processor_type": "Qwen2VLImageProcessor",
    "processor_class": "Qwen2VLProcessor",
}

AUTOENCODER = {
    "_class_name": "AutoencoderTiny",
    "act_fn": "relu",
    "decoder_block_out_channels": [autoencoder.STORED_WIDTH] * 4,
    "encoder_block_out_channels": [autoencoder.STORED_WIDTH] * 4,
    "in_channels": 3,
    "latent_channels": autoencoder.LATENT_CHANNELS,
    "latent_magnitude": 3,
    "latent_shift": 0.5,
    "num_decoder_blocks": [3, 3, 3, 1],
    "num_encoder_blocks": [1, 3, 3, 3],
    "out_channels": 3,
    "scaling_factor": autoencoder.SCALE,
    "shift_factor": autoencoder.SHIFT,
    "upsampling_scaling_factor": 2,
}

CLIP_WIDTH, T5_WIDTH = 4, 8
# The most bytes of one file of a network, so that each has two files and the loaders merge shards.
SHARD = 3_300_000


def write_encoder_config(folder: Path) -> Path:
    """The folder `qwen2-vl` with what describes the encoder; returns it."""
    place = folder / "qwen2-vl"
    place.mkdir(parents=True, exist_ok=True)
    _dump(place / "config.json", CONFIG)
    _dump(place / "preprocessor_config.json", PREPROCESSOR)
    return place


def write_encoder(folder: Path, encoder: Qwen2VLEncoder, connector: nn.Linear, t5_embedder: nn.Linear) -> None:
    """Its weights, and those of the two projections."""
    place = write_encoder_config(folder)
    state = {name: value.detach().cpu().bfloat16().contiguous() for name, value in encoder.state_dict().items()}
    save_torch_state_dict(state, place, max_shard_size=SHARD * 2 // 3, metadata={"format": "pt"})
    for name, layer, prefix in (("connector", connector, "linear."), ("t5_embedder", t5_embedder, "")):
        state = {prefix + key: value.detach().bfloat16() for key, value in layer.state_dict().items()}
        torch.save(state, place / f"{name}.pt")


def write_autoencoder(folder: Path, network: autoencoder.Autoencoder) -> None:
    place = folder / "flux" / "vae"
    place.mkdir(parents=True, exist_ok=True)
    _dump(place / "config.json", AUTOENCODER)
    autoencoder.save(network, place / "diffusion_pytorch_model.safetensors")


def write_transformer(folder: Path, flux: FluxTransformer2DModel) -> None:
    flux.to(torch.bfloat16).save_pretrained(folder / "flux" / "transformer", max_shard_size=SHARD)
    FlowMatchEulerDiscreteScheduler(
        shift=3.0, use_dynamic_shifting=True, base_shift=0.5, max_shift=1.15
    ).save_pretrained(folder / "flux" / "scheduler")


def write_text_encoders(folder: Path) -> None:
    """Random stand-ins for CLIP-L and T5-XXL, in whose vocabularies a prompt is read: they know nothing of words."""
    clip = CLIPTextConfig(
        hidden_size=CLIP_WIDTH,
        intermediate_size=2 * CLIP_WIDTH,
        projection_dim=CLIP_WIDTH,
        num_attention_heads=1,
        num_hidden_layers=2,
        vocab_size=49408,
        bos_token_id=0,
        eos_token_id=2,
    )
    t5 = T5Config(
        d_model=T5_WIDTH,
        d_kv=4,
        d_ff=2 * T5_WIDTH,
        num_heads=2,
        num_layers=2,
        vocab_size=32128,
        feed_forward_proj="gated-gelu",
    )
    place = folder / "flux" / "text_encoder"
    clip.save_pretrained(place)
    state = {f"text_model.{name}": value for name, value in CLIPTextModel(clip).bfloat16().state_dict().items()}
    save_file(state, place / "model.safetensors", metadata={"format": "pt"})
    T5EncoderModel(t5).bfloat16().save_pretrained(folder / "flux" / "text_encoder_2", max_shard_size=515_000)


def _dump(path: Path, values: dict) -> None:
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
