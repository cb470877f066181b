"""The frozen autoencoder: images to FLUX's latents and back, with the very numbers that ComfyUI gives."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from accelerate import init_empty_weights
from diffusers import AutoencoderKL, AutoencoderTiny
from torch import Tensor, nn

from systems.common.errors import CheckpointError
from systems.common.weights.files import read_json
from systems.common.weights.shards import WeightFiles

from ..weights import fill
from .networks import STEM

# The scale and the shift of FLUX.1's latents.
SCALE, SHIFT = 0.3611, 0.1159
# The names of the factor and the summand that ComfyUI's tiny autoencoder stores beside its weights.
TINY_SCALE, TINY_SHIFT = "vae_scale", "vae_shift"


class Autoencoder(nn.Module):
    """Images [B, 3, H, W] in 0..1, H and W multiples of 16, and FLUX's latents [B, 16, H/8, W/8] after scale and
    shift. The posterior's mode is taken, as ComfyUI does."""

    def __init__(self, network: AutoencoderKL | AutoencoderTiny, scale: float = 1.0, shift: float = 0.0):
        """scale, shift: of a tiny autoencoder's own latents."""
        super().__init__()
        self.network, self.scale, self.shift = network, scale, shift

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        encoded = self.network.encode(images * 2 - 1)
        raw = encoded.latents / self.scale + self.shift if self._is_tiny else encoded.latent_dist.mode()
        return (raw - SHIFT) * SCALE

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        raw = latents / SCALE + SHIFT
        decoded = self.network.decode((raw - self.shift) * self.scale if self._is_tiny else raw).sample
        return ((decoded + 1) / 2).clamp(0, 1)

    @property
    def _is_tiny(self) -> bool:
        return isinstance(self.network, AutoencoderTiny)


def read_autoencoder(checkpoint: Path) -> Autoencoder:
    """The autoencoder of a checkpoint folder in float32: FLUX's own, or a tiny one in ComfyUI's names.

    Raises CheckpointError for another kind, and for missing, unexpected or misshapen tensors.
    """
    place = checkpoint / "flux" / "vae"
    config = read_json(place / "config.json")
    kinds = {kind.__name__: kind for kind in (AutoencoderKL, AutoencoderTiny)}
    kind = kinds.get(config.get("_class_name"))
    if kind is None:
        raise CheckpointError(
            f"{place / 'config.json'} describes a {config.get('_class_name')!r}, not one of {', '.join(kinds)}; put "
            "FLUX's own vae folder there."
        )
    with init_empty_weights():
        network = kind.from_config(config)
    if kind is AutoencoderKL:
        fill(network, WeightFiles(place, STEM), "vae/config.json")
        return Autoencoder(network)
    files = WeightFiles(place, STEM, rename=_diffusers_name)
    fill(network, files, "vae/config.json", unused=(TINY_SCALE, TINY_SHIFT))
    own = {name: files.read(name, torch.float32).item() for name in (TINY_SCALE, TINY_SHIFT) if name in files.infos}
    return Autoencoder(network, own.get(TINY_SCALE, 1.0), own.get(TINY_SHIFT, 0.0))


def _diffusers_name(name: str) -> str:
    """The tiny autoencoder's layers in diffusers names; ComfyUI counts the decoder's clamp as its first."""
    name = re.sub(r"^taesd_encoder\.(\d+)", r"encoder.layers.\1", name)
    return re.sub(r"^taesd_decoder\.(\d+)", lambda found: f"decoder.layers.{int(found[1]) - 1}", name)
