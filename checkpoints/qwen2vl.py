"""The folder `qwen2-vl` of a checkpoint: configuration, tensor names, connector.pt and t5_embedder.pt."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from ..errors import CheckpointError
from .files import WeightFiles, read_json, read_pt

PUBLISHED_PREFIX_IDS = (151644, 8948, 198, 2610, 525, 264, 10950, 17847, 13, 151645, 198, 151644, 872, 198, 151652)
"""<|im_start|>system You are a helpful assistant.<|im_end|> <|im_start|>user <|vision_start|> in Qwen2-VL's tokens."""

EMBEDDINGS = "model.embed_tokens.weight"
UNUSED = ("lm_head.",)


@dataclass(frozen=True)
class VisionConfig:
    """Vision tower: widths, depth and how pixels become patches."""

    depth: int
    width: int
    heads: int
    mlp_width: int
    patch: int
    temporal_patch: int
    merge: int


@dataclass(frozen=True)
class Qwen2VLConfig:
    """What config.json and preprocessor_config.json of a `qwen2-vl` folder say about the image path.

    prefix_ids: tokens before the image tokens; image_pixels: the one picture area (pixels) the checkpoint was made
    for, or None where its preprocessor leaves a range.
    """

    vision: VisionConfig
    width: int
    layers: int
    heads: int
    kv_heads: int
    mlp_width: int
    norm_eps: float
    rope_theta: float
    rope_sections: tuple[int, ...]
    vocabulary: int
    prefix_ids: tuple[int, ...]
    image_mean: tuple[float, ...]
    image_std: tuple[float, ...]
    image_pixels: int | None

    @property
    def head_width(self) -> int:
        return self.width // self.heads

    @property
    def factor(self) -> int:
        """Pixels per token along each side."""
        return self.vision.patch * self.vision.merge


def read_config(folder: Path) -> Qwen2VLConfig:
    """The configuration of a `qwen2-vl` folder, written by transformers 4.45 (flat) or 5.x (nested)."""
    path = folder / "config.json"
    raw = read_json(path)
    _require_qwen2vl(path, raw)
    preprocessor_path = folder / "preprocessor_config.json"
    preprocessor = read_json(preprocessor_path)
    try:
        config = _config(raw, preprocessor)
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise CheckpointError(
            f"{path} or {preprocessor_path.name} lacks or garbles an entry ({type(error).__name__}: {error}); "
            "download both files again."
        ) from None
    if max(config.prefix_ids) >= config.vocabulary:
        raise CheckpointError(
            f"{path} has a vocabulary of {config.vocabulary}, too small for the chat text of Qwen2-VL; a model with "
            "a vocabulary of its own names the tokens before the image in image_prefix_ids."
        )
    return config


def _require_qwen2vl(path: Path, raw: dict) -> None:
    kind = raw.get("model_type")
    if kind == "qwen2_5_vl":
        raise CheckpointError(
            f"{path.parent} is a Qwen2.5-VL model with another vision tower; Qwen2VL-Flux needs the qwen2-vl folder "
            "of its own checkpoint (Qwen2-VL)."
        )
    if kind != "qwen2_vl":
        raise CheckpointError(f"{path} describes a model of type {kind!r}; put the checkpoint's qwen2-vl folder there.")


def _config(raw: dict, preprocessor: dict) -> Qwen2VLConfig:
    vision, text = raw["vision_config"], raw.get("text_config", raw)
    rope = text.get("rope_parameters") or text["rope_scaling"]
    smallest, largest = _pixel_range(preprocessor)
    width, heads = int(text["hidden_size"]), int(text["num_attention_heads"])
    if width % heads or sum(rope["mrope_section"]) * 2 != width // heads:
        raise ValueError("hidden_size, num_attention_heads and mrope_section do not fit together")
    return Qwen2VLConfig(
        vision=VisionConfig(
            depth=int(vision["depth"]),
            width=int(vision["embed_dim"]),
            heads=int(vision["num_heads"]),
            mlp_width=int(vision["embed_dim"] * vision.get("mlp_ratio", 4)),
            patch=int(vision.get("patch_size", 14)),
            temporal_patch=int(vision.get("temporal_patch_size", 2)),
            merge=int(vision.get("spatial_merge_size", 2)),
        ),
        width=width,
        layers=int(text["num_hidden_layers"]),
        heads=heads,
        kv_heads=int(text["num_key_value_heads"]),
        mlp_width=int(text["intermediate_size"]),
        norm_eps=float(text["rms_norm_eps"]),
        rope_theta=float(rope.get("rope_theta") or text["rope_theta"]),
        rope_sections=tuple(int(section) for section in rope["mrope_section"]),
        vocabulary=int(text["vocab_size"]),
        prefix_ids=tuple(int(token) for token in raw.get("image_prefix_ids", PUBLISHED_PREFIX_IDS)),
        image_mean=tuple(float(value) for value in preprocessor["image_mean"]),
        image_std=tuple(float(value) for value in preprocessor["image_std"]),
        image_pixels=smallest if smallest == largest else None,
    )


def _pixel_range(preprocessor: dict) -> tuple[int, int]:
    size = preprocessor.get("size", {})
    smallest = preprocessor.get("min_pixels") or size["shortest_edge"]
    largest = preprocessor.get("max_pixels") or size["longest_edge"]
    return int(smallest), int(largest)


def open_encoder(folder: Path) -> WeightFiles:
    """The encoder's weight files, tensors named `visual.*` and `model.*` whichever transformers wrote them."""
    return WeightFiles(folder, "model", rename=_flat_name)


def _flat_name(name: str) -> str:
    if name.startswith("model.visual."):
        return name.removeprefix("model.")
    if name.startswith("model.language_model."):
        return "model." + name.removeprefix("model.language_model.")
    return name


def read_linear(path: Path, inputs: int | None = None) -> dict[str, torch.Tensor]:
    """`weight` [out, in] and `bias` [out] of one Linear layer stored alone (connector.pt, t5_embedder.pt)."""
    state = {name.removeprefix("linear."): value for name, value in read_pt(path).items()}
    if sorted(state) != ["bias", "weight"] or state["weight"].ndim != 2:
        raise CheckpointError(
            f"{path} holds {sorted(state)}, not the weight and bias of one Linear; download it again."
        )
    outputs, width = state["weight"].shape
    if tuple(state["bias"].shape) != (outputs,) or (inputs is not None and width != inputs):
        wanted = "" if inputs is None else f" from {inputs} inputs"
        raise CheckpointError(
            f"{path} is a Linear of {width} to {outputs} with a bias of {list(state['bias'].shape)}, not one{wanted}; "
            "it belongs to another checkpoint."
        )
    return state
