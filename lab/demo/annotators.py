"""The embedded checkpoint's annotators: a Depth Anything V2 of 0.2 million parameters and AnyLine's TEED, which learn
from scenes whose depth and outlines are known."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional
from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation, Dinov2Config

from systems.annotators.anyline.network import AnyLineNetwork
from systems.annotators.sizes import reading_size
from systems.common.opencv_resize import resize_area, resize_lanczos

from ..world import hints
from ..world.references import SHARES, SIZES
from ..world.scenes import UNIT, Layout, Scenes, random_layout, random_scenes, render
from .autoencoder import neighbours
from .encoder import tinted
from .plain_loop import fit

# The fraction of the steps in which the rate grows.
WARM_UP = 0.05
AVERAGED = {"average": 0.99, "betas": (0.9, 0.99), "weight_decay": 1e-3}
# The least and the most pixels of an image for a length of 1.
DENSITIES = (UNIT, 4 * UNIT)
# The most deviation of an image's pixels.
NOISE = 0.03


def between(ends: tuple[int, int], generator: torch.Generator) -> float:
    """One of the ends in half of all cases, else anything between them, evenly in its logarithm."""
    low, high = map(math.log, ends)
    place = 2 * float(torch.rand((), generator=generator)) - 0.5
    return math.exp(low + (high - low) * min(max(place, 0.0), 1.0))


def random_size(generator: torch.Generator) -> tuple[int, int]:
    """(width, height) of a scene at its own size."""
    return SIZES[torch.multinomial(torch.tensor(SHARES), 1, generator=generator)]


def drawn(scenes: Scenes, layout: Layout, height: int, width: int, generator: torch.Generator) -> torch.Tensor:
    """Images [B, 3, height, width] as bytes, as a file keeps them; their colours and pixels are a little off, as in
    images that an autoencoder drew."""
    pictures = tinted(render(scenes, layout, height, width)[0], generator)
    amount = NOISE * torch.rand(len(pictures), 1, 1, 1, generator=generator)
    noisy = pictures + amount * torch.randn(pictures.shape, generator=generator)
    return (noisy.clamp(0, 1) * 255).round().byte()


# ---- depth ---------------------------------------------------------------------------------------------------------

# The configuration of the small model: 0.2 million parameters, published are 24.8 to 335.
DEPTH = DepthAnythingConfig(
    backbone_config=Dinov2Config(
        hidden_size=48, num_hidden_layers=4, num_attention_heads=3, out_indices=[1, 2, 3, 4],
        image_size=112, patch_size=14, reshape_hidden_states=False,
    ),
    reassemble_hidden_size=48, neck_hidden_sizes=[12, 16, 24, 32], fusion_hidden_size=16, head_hidden_size=16,
)  # fmt: skip

DEPTH_STEPS, DEPTH_BATCH, DEPTH_RATE = 1000, 4, 2e-3
# The pixels along the shorter side of what the network reads: as published, and in the quicker first part of training.
READING, COARSE_READING = 518, 252
# The fraction of the steps in that part.
COARSE = 0.7
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def train_depth(
    generator: torch.Generator, device: torch.device, steps: int = DEPTH_STEPS
) -> DepthAnythingForDepthEstimation:
    """A model that gives the depth of hints.depth, for scenes in any of SIZES."""
    model = DepthAnythingForDepthEstimation(DEPTH).to(device)
    for layer in model.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            layer.reset_parameters()
    nn.init.constant_(model.head.conv3.bias, 0.5)  # above 0, where the last ReLU lets the gradient pass

    def loss(step: int) -> torch.Tensor:
        coarse = step < COARSE * steps
        side, number = (COARSE_READING, DEPTH_BATCH) if coarse else (READING, 1)
        pixels, depth = (each.to(device) for each in random_depths(generator, side, number))
        return depth_loss(model(pixels).predicted_depth, depth)

    fit("depth", model.parameters(), loss, steps, DEPTH_RATE, warm_up=WARM_UP * steps, **AVERAGED)
    return model.eval()


def random_depths(generator: torch.Generator, side: int, number: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Scenes as the network reads them at `side` pixels along the shorter side, [B, 3, h, w] normalised, and their
    depth [B, h, w] in 0..1."""
    width, height = random_size(generator)
    scale = between(DENSITIES, generator) / UNIT
    size = reading_size(height, width, side, DEPTH.patch_size)
    scenes = random_scenes(number, generator)
    layout = random_layout(scenes, (width / UNIT, height / UNIT), generator)
    pictures = drawn(scenes, layout, round(height * scale), round(width * scale), generator)
    pixels = functional.interpolate(pictures / 255, size, mode="bicubic")
    mean, deviation = (torch.tensor(each)[:, None, None] for each in (MEAN, DEVIATION))
    depth = functional.interpolate(hints.depth(scenes, layout, *pictures.shape[-2:]), size, mode="bilinear")
    return (pixels - mean) / deviation, depth[:, 0]


def depth_loss(made: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """L1 + 0.5 L1 of the differences between neighbours."""
    error = made - wanted
    return error.abs().mean() + 0.5 * sum(each.abs().mean() for each in neighbours(error))


def save_depth(model: DepthAnythingForDepthEstimation, folder: Path) -> None:
    """Write it in the layout of Hugging Face, in half precision."""
    model.half().save_pretrained(folder)


# ---- lines ---------------------------------------------------------------------------------------------------------

LINE_STEPS, LINE_BATCH, LINE_RATE = 1800, 8, 3e-3
# The side in pixels of what the network sees at once in training.
CROP = 96
# The least and the most pixels along the shorter side of what AnyLine reads; the most is the published number.
RESOLUTIONS = (512, 1280)
# The pixels of an image beyond a crop, more than its resize reads.
MARGIN = 5
# The fraction of crops about an object's outline, and its distance from the object's centre, in radii.
AT_AN_OUTLINE, OUTLINE = 0.8, 0.8
# The value of 0..255 that counts as 1 in training; later part of the first convolution's weights.
PIXEL = 64.0
# The gain of first weights, with which smish neither shrinks nor grows what passes through it.
GAIN = 2.2
# The factor of the first filters, since neighbours differ little.
CONTRAST = 3.0
# The first logit of all pixels: few lie on a line.
RARE = -2.5


def train_line(generator: torch.Generator, device: torch.device, steps: int = LINE_STEPS) -> AnyLineNetwork:
    """A network that gives the lines of hints.outlines, at any of RESOLUTIONS."""
    network = AnyLineNetwork(nn)
    init_weights(network)
    network.to(device)

    def loss(step: int) -> torch.Tensor:
        pixels, lines = (each.to(device) for each in random_crops(generator, LINE_BATCH))
        return line_loss(network(pixels / PIXEL), lines)

    fit("line", network.parameters(), loss, steps, LINE_RATE, warm_up=WARM_UP * steps, **AVERAGED)
    with torch.no_grad():
        network.block_1.conv1.weight.div_(PIXEL)
    return network.eval()


@torch.no_grad()
def init_weights(network: AnyLineNetwork) -> None:
    """First weights that see edges: filters of the pixels without their mean, and maps that say no line but grow with
    what comes in. From the usual ones the maps' single channels die before they find a line."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            spread = layer.stride[0] ** 2 if isinstance(layer, nn.ConvTranspose2d) else 1
            nn.init.normal_(layer.weight, std=GAIN * math.sqrt(spread / layer.weight[0].numel()))
            nn.init.zeros_(layer.bias)
    pixels = network.block_1.conv1.weight
    pixels.sub_(pixels.mean((2, 3), keepdim=True)).mul_(CONTRAST)
    for block in (network.up_block_1, network.up_block_2, network.up_block_3):
        *_, channel, _, upscale = block.features
        nn.init.ones_(channel.bias)
        nn.init.constant_(upscale.weight, upscale.stride[0] ** 2 / upscale.weight[0].numel())
        nn.init.constant_(upscale.bias, RARE)


def line_loss(logits: torch.Tensor, lines: torch.Tensor) -> torch.Tensor:
    """Cross entropy of the maps' mean, of which AnyLine makes its edges, and a little of the three maps themselves."""
    mean = functional.binary_cross_entropy_with_logits(logits.mean(1, keepdim=True), lines)
    each = functional.binary_cross_entropy_with_logits(logits[:, :3], lines.expand(-1, 3, -1, -1))
    return mean + 0.2 * each


def random_crops(generator: torch.Generator, number: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Parts of scenes as AnyLine reads them at a random resolution, [B, 3, 128, 128] in 0..255, and the lines there
    [B, 1, 128, 128] in 0..1."""
    width, height = canvas = tuple(edge / UNIT for edge in random_size(generator))
    density = between(DENSITIES, generator)
    scale = between(RESOLUTIONS, generator) / (density * min(width, height))
    extent = math.ceil(CROP / scale) + 2 * MARGIN
    scenes = random_scenes(number, generator)
    layout = _window(scenes, random_layout(scenes, canvas, generator), extent / density, generator)
    side = round(extent * scale)
    resize = resize_lanczos if scale > 1 else resize_area
    stacked = drawn(scenes, layout, extent, extent, generator).flatten(0, 1).movedim(0, -1)
    pixels = torch.from_numpy(resize(stacked.numpy(), side, side)).movedim(-1, 0).unflatten(0, (number, 3)).float()
    finest = min(extent, side)
    lines = functional.interpolate(hints.outlines(scenes, layout, finest, finest), (side, side), mode="bilinear")
    start = (side - CROP) // 2
    return tuple(each[..., start : start + CROP, start : start + CROP] for each in (pixels, lines))


def _window(scenes: Scenes, layout: Layout, side: float, generator: torch.Generator) -> Layout:
    """The layouts on a square canvas of that side cut out of each, mostly about a point of an object's outline."""
    number = len(scenes)
    every = torch.arange(number)
    one = (torch.rand(number, generator=generator) * scenes.count).long()
    turn = 2 * math.pi * torch.rand(number, generator=generator)
    away = layout.radius[every, one] * OUTLINE * torch.stack([turn.cos(), turn.sin()])
    outline = layout.centre[every, one] + away.T
    anywhere = torch.rand(number, 2, generator=generator) * torch.tensor(layout.canvas)
    near = torch.rand(number, 1, generator=generator) < AT_AN_OUTLINE
    corner = torch.where(near, outline, anywhere) - side / 2
    return replace(layout, centre=layout.centre - corner[:, None], canvas=(side, side))


def save_line(network: AnyLineNetwork, path: Path) -> None:
    """Write it under the names of AnyLine's MTEED, in half precision."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: value.half() for name, value in network.state_dict().items()}, path)
