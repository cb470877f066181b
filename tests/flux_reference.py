"""FLUX.1, the connector and the rectified-flow loss once more, in plain operations: what one step's gradients must be.

Of diffusers it knows the names of the weights alone, as training.qwen2vl_flux.networks.Networks has them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import gelu, linear, silu

AXES, THETA, EPSILON = (16, 56, 56), 10000.0, 1e-6
HEAD = sum(AXES)
WRONG = ("sign", "guidance", "time", "pooled", "focus", "prompt", "transposed", "text_ids")


def loss(
    weights: Mapping[str, Tensor],
    latents: Tensor,
    tokens: Tensor,
    focus: Tensor | None,
    prompt: Tensor | None,
    pooled: Tensor,
    noise: Tensor,
    time: Tensor,
    guidance: float,
    wrong: str = "",
) -> Tensor:
    """The mean square of FLUX's error; `wrong` names one of WRONG to do wrong."""
    if focus is not None and wrong != "focus":
        tokens = tokens * focus[..., None]
    context = _linear(weights, "connector", tokens)
    if focus is not None and wrong == "focus":
        context = context * focus[..., None]
    text = _linear(weights, "flux.context_embedder", context)
    if prompt is not None and wrong != "prompt":
        text = torch.cat((text, _linear(weights, "t5_embedder", prompt)), dim=1)

    mix = time[:, None, None, None]
    noisy = (1 - mix) * latents + mix * noise
    target = latents - noise if wrong == "sign" else noise - latents
    count, channels, height, width = latents.shape
    rows, columns = height // 2, width // 2
    vector = _embedded(weights, "timestep", (1 - time if wrong == "time" else time) * 1000)
    if wrong != "guidance":
        vector = vector + _embedded(weights, "guidance", torch.full_like(time, guidance) * 1000)
    vector = vector + _mlp(weights, "text", torch.zeros_like(pooled) if wrong == "pooled" else pooled)

    patches = noisy.reshape(count, channels, rows, 2, columns, 2).permute(0, 2, 4, 1, 3, 5)
    image = _linear(weights, "flux.x_embedder", patches.reshape(count, rows * columns, channels * 4))
    angles = _angles(text.shape[1], rows, columns, wrong)
    for number in _blocks(weights, "transformer_blocks"):
        image, text = _double(weights, f"flux.transformer_blocks.{number}", image, text, vector, angles)
    joined = torch.cat((text, image), dim=1)
    for number in _blocks(weights, "single_transformer_blocks"):
        joined = _single(weights, f"flux.single_transformer_blocks.{number}", joined, vector, angles)
    image = joined[:, text.shape[1] :]
    scale, shift = _linear(weights, "flux.norm_out.linear", silu(vector)).chunk(2, dim=-1)
    image = _linear(weights, "flux.proj_out", _modulated(image, shift, scale))
    velocity = image.reshape(count, rows, columns, channels, 2, 2).permute(0, 3, 1, 4, 2, 5)
    return ((velocity.reshape(latents.shape) - target) ** 2).mean()


def _linear(weights: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    return linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])


def _blocks(weights: Mapping[str, Tensor], kind: str) -> list[int]:
    return sorted({int(name.split(".")[2]) for name in weights if name.startswith(f"flux.{kind}.")})


def _mlp(weights: Mapping[str, Tensor], kind: str, x: Tensor) -> Tensor:
    name = f"flux.time_text_embed.{kind}_embedder"
    return _linear(weights, f"{name}.linear_2", silu(_linear(weights, f"{name}.linear_1", x)))


def _embedded(weights: Mapping[str, Tensor], kind: str, values: Tensor) -> Tensor:
    """A number's sines and cosines at 128 frequencies through a small network."""
    frequencies = torch.exp(-math.log(10000) * torch.arange(128) / 128)
    angles = values[:, None] * frequencies
    return _mlp(weights, kind, torch.cat((angles.cos(), angles.sin()), dim=-1))


def _angles(texts: int, rows: int, columns: int, wrong: str) -> Tensor:
    """Rotation angles [tokens, HEAD / 2]: nought for text, row and column for the image."""
    places = [(0, number if wrong == "text_ids" else 0, 0) for number in range(texts)]
    for row in range(rows):
        for column in range(columns):
            places.append((0, column, row) if wrong == "transposed" else (0, row, column))
    parts = []
    for axis, width in enumerate(AXES):
        position = torch.tensor([place[axis] for place in places], dtype=torch.float64)
        parts.append(position[:, None] * THETA ** (-torch.arange(0, width, 2, dtype=torch.float64) / width))
    return torch.cat(parts, dim=-1)


def _rotated(x: Tensor, angles: Tensor) -> Tensor:
    """x [B, H, N, HEAD], neighbours rotated together."""
    cos, sin = angles.cos().float(), angles.sin().float()
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack((even * cos - odd * sin, odd * cos + even * sin), dim=-1).flatten(-2)


def _normed(x: Tensor) -> Tensor:
    x = x - x.mean(dim=-1, keepdim=True)
    return x / (x.square().mean(dim=-1, keepdim=True) + EPSILON).sqrt()


def _modulated(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    return _normed(x) * (1 + scale[:, None]) + shift[:, None]


def _heads(weights: Mapping[str, Tensor], name: str, layer: str, norm: str, x: Tensor) -> Tensor:
    """Queries, keys or values [B, H, N, HEAD] of tokens [B, N, width]; queries and keys are normed."""
    made = _linear(weights, f"{name}.attn.{layer}", x).unflatten(-1, (-1, HEAD)).transpose(1, 2)
    if f"{name}.attn.{norm}.weight" not in weights:
        return made
    return made / (made.square().mean(dim=-1, keepdim=True) + EPSILON).sqrt() * weights[f"{name}.attn.{norm}.weight"]


def _attended(q: Tensor, k: Tensor, v: Tensor, angles: Tensor) -> Tensor:
    q, k = _rotated(q, angles), _rotated(k, angles)
    seen = torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(HEAD), dim=-1) @ v
    return seen.transpose(1, 2).flatten(2)


def _double(
    weights: Mapping[str, Tensor], name: str, image: Tensor, text: Tensor, vector: Tensor, angles: Tensor
) -> tuple[Tensor, Tensor]:
    for_image = _linear(weights, f"{name}.norm1.linear", silu(vector)).chunk(6, dim=-1)
    for_text = _linear(weights, f"{name}.norm1_context.linear", silu(vector)).chunk(6, dim=-1)
    x, y = _modulated(image, *for_image[:2]), _modulated(text, *for_text[:2])
    heads = (
        (
            _heads(weights, name, f"add_{part}_proj", f"norm_added_{part}", y),
            _heads(weights, name, f"to_{part}", f"norm_{part}", x),
        )
        for part in "qkv"
    )
    seen = _attended(*(torch.cat(each, dim=2) for each in heads), angles)
    count = text.shape[1]
    text = text + for_text[2][:, None] * _linear(weights, f"{name}.attn.to_add_out", seen[:, :count])
    image = image + for_image[2][:, None] * _linear(weights, f"{name}.attn.to_out.0", seen[:, count:])
    text = text + for_text[5][:, None] * _feed(weights, f"{name}.ff_context", _modulated(text, *for_text[3:5]))
    image = image + for_image[5][:, None] * _feed(weights, f"{name}.ff", _modulated(image, *for_image[3:5]))
    return image, text


def _feed(weights: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    return _linear(weights, f"{name}.net.2", gelu(_linear(weights, f"{name}.net.0.proj", x), approximate="tanh"))


def _single(weights: Mapping[str, Tensor], name: str, x: Tensor, vector: Tensor, angles: Tensor) -> Tensor:
    shift, scale, gate = _linear(weights, f"{name}.norm.linear", silu(vector)).chunk(3, dim=-1)
    y = _modulated(x, shift, scale)
    seen = _attended(*(_heads(weights, name, f"to_{part}", f"norm_{part}", y) for part in "qkv"), angles)
    wide = gelu(_linear(weights, f"{name}.proj_mlp", y), approximate="tanh")
    return x + gate[:, None] * _linear(weights, f"{name}.proj_out", torch.cat((seen, wide), dim=-1))
