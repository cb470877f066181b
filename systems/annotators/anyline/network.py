"""TEED, a tiny edge detector of 58,910 weights (Soria et al. 2023, arXiv:2308.06468; xavysp/TEED), in the names of its
files; AnyLine's MTEED.pth is one."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d


def smish(x: Tensor) -> Tensor:
    """x * tanh(ln(1 + sigmoid(x))) (Wang, Ren, Wang 2022, Electronics 11(4), 540)."""
    return x * torch.tanh(torch.log(1 + torch.sigmoid(x)))


class Smish(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return smish(x)


class DoubleConv(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, operations, **factory):
        super().__init__()
        self.conv1 = operations.Conv2d(inputs, outputs, kernel_size=3, stride=stride, padding=1, **factory)
        self.conv2 = operations.Conv2d(outputs, outputs, kernel_size=3, padding=1, **factory)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(smish(self.conv1(x)))


class Pointwise(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, operations, **factory):
        super().__init__()
        self.conv = operations.Conv2d(inputs, outputs, kernel_size=1, stride=stride, **factory)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class DenseLayer(nn.Module):
    def __init__(self, inputs: int, outputs: int, operations, **factory):
        super().__init__()
        self.conv1 = operations.Conv2d(inputs, outputs, kernel_size=3, padding=2, **factory)
        self.conv2 = operations.Conv2d(outputs, outputs, kernel_size=3, **factory)

    def forward(self, x: Tensor, skipped: Tensor) -> Tensor:
        return 0.5 * (self.conv2(smish(self.conv1(smish(x)))) + skipped)


class Upscale(nn.Module):
    """To one channel, twice the size for each step."""

    def __init__(self, inputs: int, steps: int, operations, **factory):
        super().__init__()
        layers = []
        kernel, padding = 2**steps, (0, 0, 1)[steps]
        for step in range(steps):
            outputs = 1 if step == steps - 1 else 16
            layers += [
                operations.Conv2d(inputs, outputs, kernel_size=1, **factory),
                Smish(),
                operations.ConvTranspose2d(outputs, outputs, kernel, stride=2, padding=padding, **factory),
            ]
            inputs = outputs
        self.features = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.features(x)


class DoubleFusion(nn.Module):
    """The three edge maps to one, by two depthwise convolutions."""

    def __init__(self, operations, **factory):
        super().__init__()
        self.DWconv1 = operations.Conv2d(3, 24, kernel_size=3, padding=1, groups=3, **factory)
        self.DWconv2 = operations.Conv2d(24, 24, kernel_size=3, padding=1, groups=24, **factory)

    def forward(self, x: Tensor) -> Tensor:
        first = self.DWconv1(smish(x))
        return smish((self.DWconv2(smish(first)) + first).sum(1, keepdim=True))


class AnyLineNetwork(nn.Module):
    """RGB pixels [B, 3, H, W] of 0 to 255, sides in multiples of 8, to the logits [B, 4, H, W] of three edge maps and
    their fusion."""

    def __init__(self, operations, device: torch.device | str | None = None, dtype: torch.dtype | None = None):
        super().__init__()
        factory = {"device": device, "dtype": dtype}
        self.block_1 = DoubleConv(3, 16, 2, operations, **factory)
        self.block_2 = DoubleConv(16, 32, 1, operations, **factory)
        self.dblock_3 = nn.ModuleDict({"denselayer1": DenseLayer(32, 48, operations, **factory)})
        self.side_1 = Pointwise(16, 32, 2, operations, **factory)
        self.pre_dense_3 = Pointwise(32, 48, 1, operations, **factory)
        self.up_block_1 = Upscale(16, 1, operations, **factory)
        self.up_block_2 = Upscale(32, 1, operations, **factory)
        self.up_block_3 = Upscale(48, 2, operations, **factory)
        self.block_cat = DoubleFusion(operations, **factory)

    def forward(self, pixels: Tensor) -> Tensor:
        one = smish(self.block_1(pixels))
        two = self.block_2(one)
        pooled = max_pool2d(two, kernel_size=3, stride=2, padding=1)
        three = self.dblock_3["denselayer1"](pooled + self.side_1(one), self.pre_dense_3(pooled))
        edges = torch.cat((self.up_block_1(one), self.up_block_2(two), self.up_block_3(three)), dim=1)
        return torch.cat((edges, self.block_cat(edges)), dim=1)
