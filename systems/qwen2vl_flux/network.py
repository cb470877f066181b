"""Qwen2-VL as an image encoder: vision tower and causal language model up to the last image token (Wang et al. 2024,
arXiv:2409.12191), with the connector and text projection of Qwen2VL-Flux beside it.

Image tokens are causal and never see the text after them, so only the 15 prefix tokens and the image tokens run.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..common.comfy.attention import attention_for
from .checkpoint import Qwen2VLConfig, VisionConfig


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embedding of x [..., N, head width] by angles [N, head width], halves rotated together."""
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin


def vision_angles(rows: int, columns: int, merge: int, head_width: int, device: torch.device) -> Tensor:
    """Angles [rows * columns, head_width] float32 of the patches, in the order that groups merge x merge patches."""
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    grouped = torch.stack((y, x)).reshape(2, rows // merge, merge, columns // merge, merge).transpose(2, 3)
    positions = grouped.reshape(2, -1).to(device=device, dtype=torch.float32)
    quarter = head_width // 4
    frequencies = 10000.0 ** (-torch.arange(quarter, dtype=torch.float32, device=device) / quarter)
    angles = torch.cat([positions[0, :, None] * frequencies, positions[1, :, None] * frequencies], dim=-1)
    return torch.cat((angles, angles), dim=-1)


def language_angles(
    prefix: int, rows: int, columns: int, theta: float, sections: tuple[int, ...], device: torch.device
) -> Tensor:
    """Angles [prefix + rows * columns, 2 * sum(sections)] float32: text counts up, the image advances by row and column
    from where the text ends (multimodal rotary embedding: time, height and width each own a section)."""
    text = torch.arange(prefix).expand(3, -1)
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    image = torch.stack((torch.zeros_like(y), y, x)).reshape(3, -1) + prefix
    positions = torch.cat((text, image), dim=1).to(device=device, dtype=torch.float32)
    half = sum(sections)
    frequencies = theta ** (-torch.arange(half, dtype=torch.float32, device=device) / half)
    parts = (positions[..., None] * frequencies).split(sections, dim=-1)
    angles = torch.cat([part[axis] for axis, part in enumerate(parts)], dim=-1)
    return torch.cat((angles, angles), dim=-1)


class VisionAttention(nn.Module):
    def __init__(self, config: VisionConfig, operations, **factory):
        super().__init__()
        self.heads = config.heads
        self.qkv = operations.Linear(config.width, 3 * config.width, **factory)
        self.proj = operations.Linear(config.width, config.width, **factory)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, attention) -> Tensor:
        batch, count, _ = x.shape
        q, k, v = self.qkv(x).reshape(batch, count, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        q, k = (rotate(part.float(), cos, sin).to(v.dtype) for part in (q, k))
        return self.proj(attention(q, k, v, self.heads, skip_reshape=True))


class VisionMLP(nn.Module):
    def __init__(self, config: VisionConfig, operations, **factory):
        super().__init__()
        self.fc1 = operations.Linear(config.width, config.mlp_width, **factory)
        self.fc2 = operations.Linear(config.mlp_width, config.width, **factory)

    def forward(self, x: Tensor) -> Tensor:
        x = self.fc1(x)
        return self.fc2(x * torch.sigmoid(1.702 * x))


class VisionBlock(nn.Module):
    def __init__(self, config: VisionConfig, operations, **factory):
        super().__init__()
        self.norm1 = operations.LayerNorm(config.width, eps=1e-6, **factory)
        self.norm2 = operations.LayerNorm(config.width, eps=1e-6, **factory)
        self.attn = VisionAttention(config, operations, **factory)
        self.mlp = VisionMLP(config, operations, **factory)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, attention) -> Tensor:
        x = x + self.attn(self.norm1(x), cos, sin, attention)
        return x + self.mlp(self.norm2(x))


class PatchEmbed(nn.Module):
    def __init__(self, config: VisionConfig, operations, **factory):
        super().__init__()
        self.size = (3, config.temporal_patch, config.patch, config.patch)
        kernel = self.size[1:]
        self.proj = operations.Conv3d(3, config.width, kernel_size=kernel, stride=kernel, bias=False, **factory)

    def forward(self, patches: Tensor) -> Tensor:
        batch, count, _ = patches.shape
        return self.proj(patches.reshape(batch * count, *self.size)).reshape(batch, count, -1)


class PatchMerger(nn.Module):
    def __init__(self, config: VisionConfig, outputs: int, operations, **factory):
        super().__init__()
        self.merged = config.width * config.merge**2
        self.ln_q = operations.LayerNorm(config.width, eps=1e-6, **factory)
        self.mlp = nn.Sequential(
            operations.Linear(self.merged, self.merged, **factory),
            nn.GELU(),
            operations.Linear(self.merged, outputs, **factory),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.mlp(self.ln_q(x).reshape(x.shape[0], -1, self.merged))


class VisionTower(nn.Module):
    """Patches [B, rows * columns, 3 * temporal * patch * patch] to tokens [B, rows * columns / merge^2, outputs]."""

    def __init__(self, config: VisionConfig, outputs: int, operations, **factory):
        super().__init__()
        self.config = config
        self.patch_embed = PatchEmbed(config, operations, **factory)
        self.blocks = nn.ModuleList(VisionBlock(config, operations, **factory) for _ in range(config.depth))
        self.merger = PatchMerger(config, outputs, operations, **factory)

    def forward(self, patches: Tensor, rows: int, columns: int) -> Tensor:
        head_width = self.config.width // self.config.heads
        angles = vision_angles(rows, columns, self.config.merge, head_width, patches.device)
        cos, sin = angles.cos(), angles.sin()
        attention = attention_for(patches.device, mask=False)
        x = self.patch_embed(patches)
        for block in self.blocks:
            x = block(x, cos, sin, attention)
        return self.merger(x)


class LanguageAttention(nn.Module):
    def __init__(self, config: Qwen2VLConfig, operations, **factory):
        super().__init__()
        self.heads, self.kv_heads, self.head_width = config.heads, config.kv_heads, config.head_width
        self.q_proj = operations.Linear(config.width, config.width, **factory)
        self.k_proj = operations.Linear(config.width, config.kv_heads * config.head_width, **factory)
        self.v_proj = operations.Linear(config.width, config.kv_heads * config.head_width, **factory)
        self.o_proj = operations.Linear(config.width, config.width, bias=False, **factory)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor, attention) -> Tensor:
        batch, count, _ = x.shape
        q = self.q_proj(x).reshape(batch, count, self.heads, self.head_width).transpose(1, 2)
        k = self.k_proj(x).reshape(batch, count, self.kv_heads, self.head_width).transpose(1, 2)
        v = self.v_proj(x).reshape(batch, count, self.kv_heads, self.head_width).transpose(1, 2)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        shared = self.heads // self.kv_heads
        k, v = k.repeat_interleave(shared, dim=1), v.repeat_interleave(shared, dim=1)
        return self.o_proj(attention(q, k, v, self.heads, mask=mask, skip_reshape=True))


class LanguageMLP(nn.Module):
    def __init__(self, config: Qwen2VLConfig, operations, **factory):
        super().__init__()
        self.gate_proj = operations.Linear(config.width, config.mlp_width, bias=False, **factory)
        self.up_proj = operations.Linear(config.width, config.mlp_width, bias=False, **factory)
        self.down_proj = operations.Linear(config.mlp_width, config.width, bias=False, **factory)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(nn.functional.silu(self.gate_proj(x)) * self.up_proj(x))


class LanguageLayer(nn.Module):
    def __init__(self, config: Qwen2VLConfig, operations, **factory):
        super().__init__()
        self.input_layernorm = operations.RMSNorm(config.width, eps=config.norm_eps, **factory)
        self.post_attention_layernorm = operations.RMSNorm(config.width, eps=config.norm_eps, **factory)
        self.self_attn = LanguageAttention(config, operations, **factory)
        self.mlp = LanguageMLP(config, operations, **factory)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor, attention) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, mask, attention)
        return x + self.mlp(self.post_attention_layernorm(x))


class LanguageModel(nn.Module):
    """Prefix text and image tokens [B, T, width] to hidden states of the image tokens after the final norm."""

    def __init__(self, config: Qwen2VLConfig, operations, **factory):
        super().__init__()
        self.config = config
        self.embed_tokens = operations.Embedding(len(config.prefix_ids), config.width, **factory)
        self.layers = nn.ModuleList(LanguageLayer(config, operations, **factory) for _ in range(config.layers))
        self.norm = operations.RMSNorm(config.width, eps=config.norm_eps, **factory)

    def forward(self, image: Tensor, rows: int, columns: int) -> Tensor:
        prefix = len(self.config.prefix_ids)
        text = self.embed_tokens(torch.arange(prefix, device=image.device), out_dtype=image.dtype)
        x = torch.cat((text.expand(image.shape[0], -1, -1), image), dim=1)
        angles = language_angles(prefix, rows, columns, self.config.rope_theta, self.config.rope_sections, image.device)
        cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
        count = x.shape[1]
        mask = torch.full((count, count), torch.finfo(x.dtype).min / 4, dtype=x.dtype, device=x.device).triu_(1)
        attention = attention_for(x.device, mask=True)
        for layer in self.layers:
            x = layer(x, cos, sin, mask, attention)
        return self.norm(x)[:, prefix:]


class Qwen2VLNetwork(nn.Module):
    """The encoder, `connector` (its width to FLUX's context) and `t5_embedder` (T5's width to FLUX's hidden size).

    embed_tokens holds only the rows of the prefix tokens, in their order.
    """

    def __init__(
        self,
        config: Qwen2VLConfig,
        context_width: int,
        text_widths: tuple[int, int],
        operations,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ):
        super().__init__()
        factory = {"device": device, "dtype": dtype}
        self.visual = VisionTower(config.vision, config.width, operations, **factory)
        self.model = LanguageModel(config, operations, **factory)
        self.connector = operations.Linear(config.width, context_width, **factory)
        self.t5_embedder = operations.Linear(*text_widths, **factory)

    def forward(self, patches: Tensor, rows: int, columns: int) -> Tensor:
        """patches [B, rows * columns, P] of a patch grid to [B, rows * columns / merge^2, width]."""
        merge = self.visual.config.merge
        return self.model(self.visual(patches, rows, columns), rows // merge, columns // merge)
