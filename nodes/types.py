"""Graph types: the pack's own, and what belongs into an input of each type; and the pack's place in the node menu."""

from __future__ import annotations

from collections.abc import Callable

import torch
from comfy_api.latest import io

from ..systems.qwen2vl_flux.encoder import Qwen2VL
from ..systems.qwen2vl_flux.tokens import ImageTokens

CATEGORY = "Qwen2VL-Flux"


def _is_a(kind: type) -> Callable[[object], bool]:
    return lambda value: isinstance(value, kind)


def _has(*attributes: str) -> Callable[[object], bool]:
    return lambda value: all(hasattr(value, attribute) for attribute in attributes)


def _is_latent(value: object) -> bool:
    return isinstance(value, dict) and isinstance(value.get("samples"), torch.Tensor)


def _is_sigmas(value: object) -> bool:
    return isinstance(value, torch.Tensor) and value.ndim == 1


# The checks, by graph type, that tell whether a value belongs there. ComfyUI's own models are told by what the pack
# calls, since other packs bring classes of theirs.
CHECKS: dict[str, Callable[[object], bool]] = {
    io.Image.io_type: _is_a(torch.Tensor),
    io.Mask.io_type: _is_a(torch.Tensor),
    io.Latent.io_type: _is_latent,
    io.Sigmas.io_type: _is_sigmas,
    io.Noise.io_type: _has("seed", "generate_noise"),
    io.Model.io_type: _has("clone", "model"),
    io.Clip.io_type: _has("tokenize", "encode_from_tokens"),
    io.ControlNet.io_type: _has("copy", "set_cond_hint"),
}


def own_type(name: str, kind: type) -> type[io.ComfyTypeIO]:
    """A graph type of the pack's own, whose values are of the class `kind`."""
    CHECKS[name] = _is_a(kind)
    return io.Custom(name)


Qwen2VLModel = own_type("QWEN2VL", Qwen2VL)
Qwen2VLTokens = own_type("QWEN2VL_TOKENS", ImageTokens)
