"""Depth Anything V2 (Yang et al. 2024, arXiv:2406.09414): a DINOv2 backbone (Oquab et al. 2023, arXiv:2304.07193)
and a DPT head (Ranftl et al. 2021, arXiv:2103.13413), in the original names (DepthAnything/Depth-Anything-V2)."""

from __future__ import annotations

import comfy.ops
import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, interpolate, relu

from ...common.comfy.attention import attention_for
from .checkpoint import PATCH, Variant

POSITION_OFFSET = 0.1


class Scale(nn.Module):
    """A learned factor for each channel."""

    def __init__(self, width: int, **factory):
        super().__init__()
        self.gamma = nn.Parameter(torch.empty(width, **factory))

    def forward(self, x: Tensor) -> Tensor:
        return x * comfy.ops.cast_to_input(self.gamma, x)


class Attention(nn.Module):
    def __init__(self, variant: Variant, operations, **factory):
        super().__init__()
        self.heads = variant.heads
        self.qkv = operations.Linear(variant.width, 3 * variant.width, **factory)
        self.proj = operations.Linear(variant.width, variant.width, **factory)

    def forward(self, x: Tensor, attention) -> Tensor:
        batch, count, _ = x.shape
        q, k, v = self.qkv(x).reshape(batch, count, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        return self.proj(attention(q, k, v, self.heads, skip_reshape=True))


class MLP(nn.Module):
    def __init__(self, width: int, operations, **factory):
        super().__init__()
        self.fc1 = operations.Linear(width, 4 * width, **factory)
        self.fc2 = operations.Linear(4 * width, width, **factory)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(gelu(self.fc1(x)))


class Block(nn.Module):
    def __init__(self, variant: Variant, operations, **factory):
        super().__init__()
        self.norm1 = operations.LayerNorm(variant.width, eps=1e-6, **factory)
        self.attn = Attention(variant, operations, **factory)
        self.ls1 = Scale(variant.width, **factory)
        self.norm2 = operations.LayerNorm(variant.width, eps=1e-6, **factory)
        self.mlp = MLP(variant.width, operations, **factory)
        self.ls2 = Scale(variant.width, **factory)

    def forward(self, x: Tensor, attention) -> Tensor:
        x = x + self.ls1(self.attn(self.norm1(x), attention))
        return x + self.ls2(self.mlp(self.norm2(x)))


class PatchEmbed(nn.Module):
    def __init__(self, width: int, operations, **factory):
        super().__init__()
        self.proj = operations.Conv2d(3, width, kernel_size=PATCH, stride=PATCH, **factory)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.proj(pixels).flatten(2).transpose(1, 2)


class Backbone(nn.Module):
    """Pixels [B, 3, 14 rows, 14 columns] to the four tapped maps [B, width, rows, columns]."""

    def __init__(self, variant: Variant, operations, **factory):
        super().__init__()
        self.taps, self.grid = variant.taps, variant.grid
        self.cls_token = nn.Parameter(torch.empty(1, 1, variant.width, **factory))
        self.pos_embed = nn.Parameter(torch.empty(1, variant.grid**2 + 1, variant.width, **factory))
        self.patch_embed = PatchEmbed(variant.width, operations, **factory)
        self.blocks = nn.ModuleList(Block(variant, operations, **factory) for _ in range(variant.depth))
        self.norm = operations.LayerNorm(variant.width, eps=1e-6, **factory)

    def forward(self, pixels: Tensor) -> list[Tensor]:
        rows, columns = (edge // PATCH for edge in pixels.shape[-2:])
        x = self.patch_embed(pixels)
        x = torch.cat((comfy.ops.cast_to_input(self.cls_token, x).expand(x.shape[0], -1, -1), x), dim=1)
        x = x + self._positions(x, rows, columns)
        attention = attention_for(x.device, mask=False)
        maps = []
        for number, block in enumerate(self.blocks):
            x = block(x, attention)
            if number in self.taps:
                maps.append(self.norm(x)[:, 1:].transpose(1, 2).unflatten(2, (rows, columns)))
        return maps

    def _positions(self, x: Tensor, rows: int, columns: int) -> Tensor:
        """Position embedding [1, 1 + rows * columns, width]. Off the square the original stretches it as if there were
        a tenth of a patch more each way, which transformers does not."""
        embedding = comfy.ops.cast_to_input(self.pos_embed, x)
        if rows == columns == self.grid:
            return embedding
        square = embedding[:, 1:].transpose(1, 2).unflatten(2, (self.grid, self.grid))
        scale = [(edge + POSITION_OFFSET) / self.grid for edge in (rows, columns)]
        stretched = interpolate(square, scale_factor=scale, mode="bicubic")
        return torch.cat((embedding[:, :1], stretched.flatten(2).transpose(1, 2)), dim=1)


class Residual(nn.Module):
    def __init__(self, width: int, operations, **factory):
        super().__init__()
        self.conv1 = operations.Conv2d(width, width, kernel_size=3, padding=1, **factory)
        self.conv2 = operations.Conv2d(width, width, kernel_size=3, padding=1, **factory)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(relu(self.conv1(relu(x))))


class Fusion(nn.Module):
    """Joins a map with the coarser ones before it and doubles it, or brings it to the size of the next."""

    def __init__(self, width: int, first: bool, operations, **factory):
        super().__init__()
        self.resConfUnit1 = None if first else Residual(width, operations, **factory)
        self.resConfUnit2 = Residual(width, operations, **factory)
        self.out_conv = operations.Conv2d(width, width, kernel_size=1, **factory)

    def forward(self, x: Tensor, finer: Tensor | None, size: tuple[int, int]) -> Tensor:
        if finer is not None:
            x = x + self.resConfUnit1(finer)
        return self.out_conv(interpolate(self.resConfUnit2(x), size, mode="bilinear", align_corners=True))


class Scratch(nn.Module):
    """The four maps to one depth map; named as in the files."""

    def __init__(self, variant: Variant, operations, **factory):
        super().__init__()
        width = variant.fusion
        for number, channels in enumerate(variant.neck, start=1):
            layer = operations.Conv2d(channels, width, kernel_size=3, padding=1, bias=False, **factory)
            self.add_module(f"layer{number}_rn", layer)
            self.add_module(f"refinenet{number}", Fusion(width, number == 4, operations, **factory))
        self.output_conv1 = operations.Conv2d(width, width // 2, kernel_size=3, padding=1, **factory)
        self.output_conv2 = nn.Sequential(
            operations.Conv2d(width // 2, variant.head, kernel_size=3, padding=1, **factory),
            nn.ReLU(),
            operations.Conv2d(variant.head, 1, kernel_size=1, **factory),
            nn.ReLU(),
        )

    def forward(self, maps: list[Tensor], size: tuple[int, int]) -> Tensor:
        one = self.layer1_rn(maps[0])
        two, three, four = self.layer2_rn(maps[1]), self.layer3_rn(maps[2]), self.layer4_rn(maps[3])
        x = self.refinenet4(four, None, three.shape[-2:])
        x = self.refinenet3(x, three, two.shape[-2:])
        x = self.refinenet2(x, two, one.shape[-2:])
        x = self.refinenet1(x, one, (2 * one.shape[-2], 2 * one.shape[-1]))
        x = interpolate(self.output_conv1(x), size, mode="bilinear", align_corners=True)
        return self.output_conv2(x)


class Head(nn.Module):
    def __init__(self, variant: Variant, operations, **factory):
        super().__init__()
        first, second, third, fourth = variant.neck
        self.projects = nn.ModuleList(
            operations.Conv2d(variant.width, channels, kernel_size=1, **factory) for channels in variant.neck
        )
        self.resize_layers = nn.ModuleList(
            [
                operations.ConvTranspose2d(first, first, kernel_size=4, stride=4, **factory),
                operations.ConvTranspose2d(second, second, kernel_size=2, stride=2, **factory),
                nn.Identity(),
                operations.Conv2d(fourth, fourth, kernel_size=3, stride=2, padding=1, **factory),
            ]
        )
        self.scratch = Scratch(variant, operations, **factory)

    def forward(self, maps: list[Tensor], size: tuple[int, int]) -> Tensor:
        layers = zip(self.projects, self.resize_layers, maps, strict=True)
        return self.scratch([resize(project(tapped)) for project, resize, tapped in layers], size)


class DepthAnythingNetwork(nn.Module):
    """Normalised RGB pixels [B, 3, H, W], sides in multiples of 14, to relative inverse depth [B, 1, H, W] >= 0."""

    def __init__(
        self,
        variant: Variant,
        operations,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ):
        super().__init__()
        factory = {"device": device, "dtype": dtype}
        self.pretrained = Backbone(variant, operations, **factory)
        self.depth_head = Head(variant, operations, **factory)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.depth_head(self.pretrained(pixels), tuple(pixels.shape[-2:]))
