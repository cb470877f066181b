"""The FLUX.1 of a Qwen2VL-Flux checkpoint: its subfolder `flux` in diffusers layout as ComfyUI's own parts."""

from __future__ import annotations

from pathlib import Path

import comfy.sd
from comfy.model_patcher import ModelPatcher

from ..common.comfy import diffusers_flux, diffusers_text


def load_transformer(folder: Path, weight_dtype: str = "default") -> ModelPatcher:
    """The transformer of a checkpoint folder, stored as `weight_dtype` says (see diffusers_flux.STORAGE)."""
    return diffusers_flux.load_transformer(folder / "flux" / "transformer", weight_dtype)


def load_text_encoders(folder: Path, t5: bool) -> comfy.sd.CLIP:
    """CLIP-L, and T5 when asked for, of a checkpoint folder."""
    flux = folder / "flux"
    return diffusers_text.load_text_encoders(flux / "text_encoder", flux / "text_encoder_2" if t5 else None)


def load_vae(folder: Path) -> comfy.sd.VAE:
    """The autoencoder of a checkpoint folder."""
    return diffusers_flux.load_vae(folder / "flux" / "vae")
