"""FLUX.1's transformer and autoencoder in diffusers layout as ComfyUI's own MODEL and VAE."""

from __future__ import annotations

from pathlib import Path

import comfy.diffusers_convert
import comfy.model_detection
import comfy.sd
import comfy.utils
import torch
from comfy.ldm.flux.model import Flux
from comfy.model_patcher import ModelPatcher

from ..errors import CheckpointError, quoted
from ..weights.config import MANY, ConfigReader
from ..weights.files import FLOATS, some
from ..weights.shards import WeightFiles, check_layout
from .state import load_state

PATCH, LATENT_CHANNELS = 2, 16
# The rotary axes of FLUX.1, which its own config.json leaves out.
FLUX1_AXES = [16, 56, 56]
# The arguments that build a network of shapes without weights.
SKELETON = {"operations": torch.nn, "device": "meta", "dtype": torch.bfloat16}
# The model options of each weight_dtype, the same as in ComfyUI's own diffusion model loader.
STORAGE = {
    "default": {},
    "fp8_e4m3fn": {"dtype": torch.float8_e4m3fn},
    "fp8_e4m3fn_fast": {"dtype": torch.float8_e4m3fn, "fp8_optimizations": True},
    "fp8_e5m2": {"dtype": torch.float8_e5m2},
}


def load_transformer(place: Path, weight_dtype: str = "default", disable_dynamic: bool = False) -> ModelPatcher:
    """The FLUX transformer of a folder, from one file or shards in diffusers names.

    Raises CheckpointError for missing, unexpected or misshapen tensors before any of them is read.
    """
    files = WeightFiles(place, "diffusion_pytorch_model")
    check_layout(files, transformer_shapes(place / "config.json"), "transformer/config.json")
    model = comfy.sd.load_diffusion_model_state_dict(
        load_state(files), model_options=dict(STORAGE[weight_dtype]), disable_dynamic=disable_dynamic
    )
    model.cached_patcher_init = (load_transformer, (place, weight_dtype))
    return model


def transformer_shapes(config_path: Path) -> dict[str, tuple[int, ...]]:
    """Every tensor that a FLUX of this config.json has, by its diffusers name, with its shape."""
    raw = ConfigReader(config_path)
    kind = raw.values.get("_class_name")
    if kind != "FluxTransformer2DModel":
        raise CheckpointError(
            f"{raw.path} describes a {quoted(kind)}, not a FluxTransformer2DModel; put the checkpoint's own "
            "flux/transformer folder there."
        )
    params = flux_params(raw)
    return diffusers_shapes(Flux(**params, **SKELETON), params)


def flux_params(raw: ConfigReader) -> dict:
    """ComfyUI's parameters of the FLUX that a diffusers config.json describes."""
    heads, head_width = raw.count("num_attention_heads", MANY), raw.count("attention_head_dim", MANY)
    if raw.numbers("axes_dims_rope", 3, FLUX1_AXES) != tuple(FLUX1_AXES):
        raise raw.invalid("axes_dims_rope", f"{FLUX1_AXES}, the only axes that ComfyUI knows of FLUX.1")
    if head_width != sum(FLUX1_AXES):
        raise raw.invalid("attention_head_dim", f"{sum(FLUX1_AXES)}, the width of FLUX.1's heads")
    channels = raw.count("in_channels") // PATCH**2
    return {
        "in_channels": channels,
        "out_channels": channels,
        "vec_in_dim": raw.count("pooled_projection_dim"),
        "context_in_dim": raw.count("joint_attention_dim"),
        "hidden_size": heads * head_width,
        "mlp_ratio": 4.0,
        "num_heads": heads,
        "depth": raw.count("num_layers", MANY),
        "depth_single_blocks": raw.count("num_single_layers", MANY, least=0),
        "axes_dim": FLUX1_AXES,
        "theta": 10000,
        "patch_size": PATCH,
        "qkv_bias": True,
        "guidance_embed": bool(raw.raw("guidance_embeds")),
        "txt_ids_dims": [],
    }


def diffusers_shapes(network: Flux, params: dict) -> dict[str, tuple[int, ...]]:
    """Shapes by diffusers name; where ComfyUI's table knows several names for one tensor, the first is FLUX.1's."""
    native = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    shapes: dict[str, tuple[int, ...]] = {}
    whole, named = set(), set()
    for name, target in comfy.utils.flux_to_diffusers(params).items():
        native_name, part = (target, None) if isinstance(target, str) else target[:2]
        if native_name not in native or (native_name, part) in named or (part is None and native_name in whole):
            continue
        named.add((native_name, part))
        whole.add(native_name)
        shape = native[native_name]
        shapes[name] = shape if part is None else (part[2], *shape[1:])
    return shapes


def load_vae(place: Path) -> comfy.sd.VAE:
    """The autoencoder of a folder; raises CheckpointError when weights are missing or left over."""
    files = WeightFiles(place, "diffusion_pytorch_model")
    path = files.only()
    state, metadata = comfy.utils.load_torch_file(str(path), return_metadata=True)
    if "decoder.up_blocks.0.resnets.0.norm1.weight" in state:
        state = comfy.diffusers_convert.convert_vae_state_dict(state)
    held = set(state)
    try:
        vae = comfy.sd.VAE(sd=state, metadata=metadata)
    except (RuntimeError, LookupError):  # shapes that fit no autoencoder, as load_state_dict and indexing say it
        raise CheckpointError(
            f"{path} has tensors of shapes that no autoencoder of ComfyUI has; download FLUX's vae again."
        ) from None
    if vae.first_stage_model is None:
        raise CheckpointError(f"{path} is not an autoencoder that ComfyUI knows; put FLUX's own vae folder there.")
    expected = set(vae.first_stage_model.state_dict())
    for names, verb in ((expected - held, "lacks"), (held - expected, "holds the unknown")):
        if names:
            raise CheckpointError(f"{path} {verb} {some(sorted(names))}; download FLUX's vae again.")
    if vae.latent_channels != LATENT_CHANNELS:
        raise CheckpointError(
            f"{path} is an autoencoder of {vae.latent_channels} latent channels, FLUX's has {LATENT_CHANNELS}; put "
            "FLUX's own vae folder there."
        )
    other = [info for info in files.infos.values() if info.kind not in FLOATS]
    if other:
        raise CheckpointError(
            f"{path} holds {some([info.stored_as for info in other])} as {other[0].kind}, not as floating-point "
            "numbers; download FLUX's vae again."
        )
    files.warn_of_nan()
    vae.patcher.cached_patcher_init = (_load_vae_patcher, (place,))
    return vae


def _load_vae_patcher(place: Path, disable_dynamic: bool = False) -> ModelPatcher:
    """The patcher of the autoencoder loaded anew, for another device; ComfyUI's VAE knows no `disable_dynamic`."""
    return load_vae(place).patcher
