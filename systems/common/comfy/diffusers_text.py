"""FLUX.1's text encoders in diffusers layout, CLIP-L and T5, as ComfyUI's own CLIP."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import comfy.sd
import comfy.utils
import folder_paths
import torch
from comfy.clip_model import ACTIVATIONS, CLIPTextModel
from comfy.model_patcher import ModelPatcher
from comfy.text_encoders.t5 import T5

from ..errors import CheckpointError, quoted
from ..weights.config import MANY, WIDTH, ConfigReader
from ..weights.shards import WeightFiles, check_layout
from .state import load_state

CLIP_L_COUNTS = (
    "hidden_size", "intermediate_size", "num_attention_heads", "num_hidden_layers", "max_position_embeddings",
)  # fmt: skip
T5_COUNTS = ("d_model", "d_kv", "d_ff", "num_heads", "num_layers", "vocab_size")
UNUSED = ("text_projection.", "text_model.embeddings.position_ids", "encoder.embed_tokens.")


def load_text_encoders(clip_l: Path, t5_xxl: Path | None, disable_dynamic: bool = False) -> comfy.sd.CLIP:
    """CLIP-L, and T5 when there is one, each of its folder.

    Raises CheckpointError for missing, unexpected or misshapen tensors before any of them is read.
    """
    # ComfyUI's long-CLIP detection overwrites clip_l_model_config with this entry
    options = {"model_config": _clip_l_shape(clip_l)}
    states = [_state(clip_l, options["model_config"], _clip_l_skeleton)]
    states[0]["text_projection.weight"] = torch.eye(options["model_config"]["hidden_size"])
    if t5_xxl is not None:
        _, options["t5xxl_model_config"] = _shape(t5_xxl, "t5", T5_COUNTS)
        states.append(_state(t5_xxl, options["t5xxl_model_config"], _t5_skeleton))
    clip = comfy.sd.load_text_encoder_state_dicts(
        states,
        embedding_directory=folder_paths.get_folder_paths("embeddings"),
        clip_type=comfy.sd.CLIPType.FLUX,
        model_options=options,
        disable_dynamic=disable_dynamic,
    )
    clip.patcher.cached_patcher_init = (_load_patcher, (clip_l, t5_xxl))
    return clip


def _load_patcher(clip_l: Path, t5_xxl: Path | None, disable_dynamic: bool = False) -> ModelPatcher:
    return load_text_encoders(clip_l, t5_xxl, disable_dynamic).patcher


def _shape(place: Path, kind: str, names: tuple[str, ...]) -> tuple[ConfigReader, dict]:
    raw = ConfigReader(place / "config.json")
    if raw.values.get("model_type") != kind:
        raise CheckpointError(
            f"{raw.path} describes a model of type {quoted(raw.values.get('model_type'))}, not {kind!r}; put the "
            f"checkpoint's own {place.name} folder there."
        )
    return raw, {name: raw.count(name, MANY if name.startswith("num_") else WIDTH) for name in names}


def _clip_l_shape(place: Path) -> dict:
    raw, shape = _shape(place, "clip_text_model", CLIP_L_COUNTS)
    if shape["hidden_size"] % shape["num_attention_heads"]:
        raise raw.invalid("num_attention_heads", f"a number of heads that fits hidden_size {shape['hidden_size']}")
    activation = raw.raw("hidden_act")
    if not isinstance(activation, str) or activation not in ACTIVATIONS:
        raise raw.invalid("hidden_act", f"one of {', '.join(ACTIVATIONS)}")
    return {**shape, "hidden_act": activation}


def _state(place: Path, shape: dict, skeleton: Callable[[dict], torch.nn.Module]) -> dict[str, torch.Tensor]:
    files = WeightFiles(place, "model")
    shapes = {name: tuple(value.shape) for name, value in skeleton(shape).state_dict().items()}
    expected = {name: value for name, value in shapes.items() if not name.startswith(UNUSED)}
    check_layout(files, expected, f"{place.name}/config.json", ignored=UNUSED)
    return load_state(files)


def _clip_l_skeleton(shape: dict) -> CLIPTextModel:
    return CLIPTextModel({**shape, "eos_token_id": 49407}, torch.float32, "meta", torch.nn)


def _t5_skeleton(shape: dict) -> T5:
    fixed = {"dense_act_fn": "gelu_pytorch_tanh", "is_gated_act": True, "model_type": "t5"}
    return T5({**shape, **fixed}, torch.float32, "meta", torch.nn)
