"""A `qwen2-vl` folder of random numbers in the published layout, of any size."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file

SHARDS = 4


@dataclass(frozen=True)
class Widths:
    """Sizes of the model; head width 64 in the language model."""

    width: int
    layers: int
    vision_width: int
    vision_depth: int
    vocabulary: int = 151_936
    context: int = 4096

    @property
    def heads(self) -> int:
        return self.width // 64


SMALL = Widths(width=512, layers=6, vision_width=512, vision_depth=6)
GIGABYTE = Widths(width=2048, layers=12, vision_width=1280, vision_depth=8)


def config_json(widths: Widths) -> dict:
    """config.json as transformers 4.45 writes it."""
    return {
        "architectures": ["Qwen2VLSimplifiedModel"],
        "model_type": "qwen2_vl",
        "hidden_size": widths.width,
        "intermediate_size": widths.width * 4,
        "num_hidden_layers": widths.layers,
        "num_attention_heads": widths.heads,
        "num_key_value_heads": widths.heads // 4,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1_000_000.0,
        "rope_scaling": {"type": "mrope", "mrope_section": [8, 12, 12]},
        "vocab_size": widths.vocabulary,
        "image_token_id": 151_655,
        "video_token_id": 151_656,
        "vision_start_token_id": 151_652,
        "vision_end_token_id": 151_653,
        "vision_config": {
            "depth": widths.vision_depth,
            "embed_dim": widths.vision_width,
            "hidden_size": widths.width,
            "mlp_ratio": 4,
            "num_heads": widths.vision_width // 64,
        },
    }


def write(folder: Path, widths: Widths, seed: int = 0) -> Path:
    """Write <folder>/qwen2-vl in shards of bfloat16; returns the checkpoint folder."""
    place = folder / "qwen2-vl"
    place.mkdir(parents=True)
    (place / "config.json").write_text(json.dumps(config_json(widths)))
    statistics = {"image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711]}
    preprocessor = {"min_pixels": 3136, "max_pixels": 12_845_056, **statistics}
    (place / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    generator = torch.Generator().manual_seed(seed)
    shapes = sorted(_shapes(widths).items())
    weight_map, per_shard = {}, -(-len(shapes) // SHARDS)
    for shard in range(SHARDS):
        name = f"model-{shard + 1:05d}-of-{SHARDS:05d}.safetensors"
        part = shapes[shard * per_shard : (shard + 1) * per_shard]
        save_file({key: _random(shape, generator) for key, shape in part}, place / name)
        weight_map.update({key: name for key, _ in part})
    (place / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    for name, outputs, inputs in (("connector", widths.context, widths.width), ("t5_embedder", 3072, widths.context)):
        linear = {"weight": _random((outputs, inputs), generator), "bias": _random((outputs,), generator)}
        torch.save(linear, place / f"{name}.pt")
    return folder


def _shapes(widths: Widths) -> dict[str, tuple[int, ...]]:
    d, v = widths.width, widths.vision_width
    kv = d // 4
    shapes = {
        "model.embed_tokens.weight": (widths.vocabulary, d),
        "model.norm.weight": (d,),
        "visual.patch_embed.proj.weight": (v, 3, 2, 14, 14),
        "visual.merger.ln_q.weight": (v,),
        "visual.merger.ln_q.bias": (v,),
        "visual.merger.mlp.0.weight": (4 * v, 4 * v),
        "visual.merger.mlp.0.bias": (4 * v,),
        "visual.merger.mlp.2.weight": (d, 4 * v),
        "visual.merger.mlp.2.bias": (d,),
    }
    for layer in range(widths.layers):
        for name, outputs in (("q_proj", d), ("k_proj", kv), ("v_proj", kv)):
            shapes[f"model.layers.{layer}.self_attn.{name}.weight"] = (outputs, d)
            shapes[f"model.layers.{layer}.self_attn.{name}.bias"] = (outputs,)
        shapes[f"model.layers.{layer}.self_attn.o_proj.weight"] = (d, d)
        shapes[f"model.layers.{layer}.mlp.gate_proj.weight"] = (4 * d, d)
        shapes[f"model.layers.{layer}.mlp.up_proj.weight"] = (4 * d, d)
        shapes[f"model.layers.{layer}.mlp.down_proj.weight"] = (d, 4 * d)
        shapes[f"model.layers.{layer}.input_layernorm.weight"] = (d,)
        shapes[f"model.layers.{layer}.post_attention_layernorm.weight"] = (d,)
    for block in range(widths.vision_depth):
        linears = {"attn.qkv": (3 * v, v), "attn.proj": (v, v), "mlp.fc1": (4 * v, v), "mlp.fc2": (v, 4 * v)}
        for name, shape in linears.items():
            shapes[f"visual.blocks.{block}.{name}.weight"] = shape
            shapes[f"visual.blocks.{block}.{name}.bias"] = shape[:1]
        for norm in ("norm1", "norm2"):
            shapes[f"visual.blocks.{block}.{norm}.weight"] = (v,)
            shapes[f"visual.blocks.{block}.{norm}.bias"] = (v,)
    return shapes


def _random(shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    scale = 1.0 if len(shape) == 1 else shape[-1] ** -0.5
    return (torch.randn(shape, generator=generator) * scale).to(torch.bfloat16)
