"""The embedded checkpoint's autoencoder: TAESD (https://github.com/madebyollin/taesd) for 16 channels, half as wide.

ComfyUI knows TAESD at 64 channels only, so the file is filled up with zeros, which compute nothing. The weights of
its convolutions are trained as, and stored in, eight bits.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils import parametrize

from training.qwen2vl_flux.autoencoder import SCALE, SHIFT, TINY_SCALE, TINY_SHIFT

from ..world import hints
from ..world.scenes import PART, UNIT, random_layout, random_scenes, render
from .plain_loop import fit

LATENT_CHANNELS, REDUCTION = 16, 8
WIDTH, STORED_WIDTH = 32, 64
EIGHT_BITS = torch.float8_e4m3fn

log = logging.getLogger(__name__)


def picture_size(latents: torch.Tensor) -> tuple[int, int]:
    """(width, height) in pixels of the images of latents [..., h, w]."""
    rows, columns = latents.shape[-2:]
    return columns * REDUCTION, rows * REDUCTION


class Rounded(nn.Module):
    """A weight as it will be stored; its gradient passes as if it were not rounded."""

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return weight + (weight.detach().to(EIGHT_BITS).to(weight) - weight).detach()


def convolution(inputs: int, outputs: int, **options: int | bool) -> nn.Conv2d:
    """A 3×3 convolution that starts near the identity: trained from the usual start, the network stays blind to
    colour for thousands of steps."""
    layer = nn.Conv2d(inputs, outputs, 3, padding=1, **options)
    with torch.no_grad():
        if inputs == outputs:
            layer.weight.mul_(0.5)
            nn.init.dirac_(start := torch.zeros_like(layer.weight))
            layer.weight.add_(start)
    parametrize.register_parametrization(layer, "weight", Rounded())
    return layer


class Block(nn.Module):
    """Three convolutions beside a path around them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            *(nn.Conv2d(width, width, 3, padding=1), nn.ReLU()),
            *(nn.Conv2d(width, width, 3, padding=1), nn.ReLU()),
            nn.Conv2d(width, width, 3, padding=1),
        )
        with torch.no_grad():
            self.conv[4].weight.mul_(0.3)
        for layer in self.conv[::2]:
            parametrize.register_parametrization(layer, "weight", Rounded())
        self.fuse = nn.ReLU()

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return self.fuse(self.conv(values) + values)


class Clamp(nn.Module):
    """Keeps latents within -3..3, softly."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return torch.tanh(values / 3) * 3


class Autoencoder(nn.Module):
    """Images [B, 3, H, W] in 0..1 to latents [B, 16, H/8, W/8] of about unit variance, and back."""

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__()

        def halved() -> list[nn.Module]:
            return [convolution(width, width, stride=2, bias=False), *(Block(width) for _ in range(3))]

        def doubled() -> list[nn.Module]:
            blocks = [Block(width) for _ in range(3)]
            return [*blocks, nn.Upsample(scale_factor=2), convolution(width, width, bias=False)]

        self.taesd_encoder = nn.Sequential(
            *(convolution(3, width), Block(width)), *halved(), *halved(), *halved(), convolution(width, LATENT_CHANNELS)
        )
        self.taesd_decoder = nn.Sequential(
            *(Clamp(), convolution(LATENT_CHANNELS, width), nn.ReLU()),
            *(*doubled(), *doubled(), *doubled()),
            *(Block(width), convolution(width, 3)),
        )

    def encode(self, pictures: torch.Tensor) -> torch.Tensor:
        return self.taesd_encoder(pictures)

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        return self.taesd_decoder(latents)


# ---- training ------------------------------------------------------------------------------------------------------

STEPS, POLISH_STEPS = 3600, 1400
BATCH, CROP = 16, 64
RATE, POLISH_RATE = 1e-3, 6e-4
# The most noise on the latents that the decoder sees, as FLUX's own latents are never exact.
NOISE, POLISH_NOISE = 0.25, 0.22
OPTIMIZER = {"warm_up": 50, "average": 0.995, "betas": (0.9, 0.99), "weight_decay": 1e-3}


def train(
    generator: torch.Generator, device: torch.device, steps: int = STEPS, polish_steps: int = POLISH_STEPS
) -> Autoencoder:
    """A trained autoencoder, of which the decoder alone is trained in the polish: its latents stay as they are."""
    network = Autoencoder().to(device, memory_format=torch.channels_last)
    pictures = training_pictures(generator)
    for trained, number, rate, noise in (
        (network, steps, RATE, NOISE),
        (network.taesd_decoder, polish_steps, POLISH_RATE, POLISH_NOISE),
    ):
        loss = partial(_loss, network, crops(pictures, generator), noise, trained is network, generator)
        fit("autoencoder", trained.parameters(), loss, number, rate, **OPTIMIZER)
        log.info("  %.1f dB on scenes it has not seen", quality(network, generator))
    return network.eval()


def _loss(
    network: Autoencoder,
    batches: Iterator[torch.Tensor],
    noise: float,
    encoder_trains: bool,
    generator: torch.Generator,
    step: int,
) -> torch.Tensor:
    device = next(network.parameters()).device
    batch = next(batches).to(device)
    with torch.autocast(device.type, torch.bfloat16), torch.set_grad_enabled(encoder_trains):
        latents = network.encode(batch)
    latents = latents.float()
    amount = noise * torch.rand(BATCH, 1, 1, 1, generator=generator)
    noisy = latents + (amount * torch.randn(latents.shape, generator=generator)).to(device)
    with torch.autocast(device.type, torch.bfloat16):
        made = network.decode(noisy)
    loss = reconstruction_loss(made.float(), batch)
    return loss + 0.05 * off_unit(latents) + 0.002 * roughness(latents) if encoder_trains else loss


def reconstruction_loss(made: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """L1 + 2 MSE + 0.5 L1 of the differences between neighbours."""
    error = made - wanted
    return error.abs().mean() + 2 * error.square().mean() + 0.5 * sum(each.abs().mean() for each in neighbours(error))


def off_unit(latents: torch.Tensor) -> torch.Tensor:
    """How far the channels' means and deviations lie from 0 and 1."""
    mean, deviation = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
    return mean.square().mean() + (deviation - 1).square().mean()


def roughness(latents: torch.Tensor) -> torch.Tensor:
    """Squared differences between neighbours."""
    return sum(each.square().mean() for each in neighbours(latents))


def neighbours(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return values[..., 1:] - values[..., :-1], values[..., 1:, :] - values[..., :-1, :]


# ---- images ------------------------------------------------------------------------------------------------------


def training_pictures(generator: torch.Generator, number: int = 2560, hinted: int = 512) -> torch.Tensor:
    """Scenes at their own size, and depths and outlines of some, [number + hinted, 3, 128, 128] as bytes."""
    made = []
    for start in range(0, number + hinted, PART):
        scenes = random_scenes(PART, generator)
        layout = random_layout(scenes, (1.0, 1.0), generator)
        if start < number:
            pictures = render(scenes, layout, UNIT, UNIT)[0]
        else:
            drawn = hints.depth if start // PART % 2 else hints.outlines
            pictures = drawn(scenes, layout, UNIT, UNIT).expand(-1, 3, -1, -1)
        made.append((pictures * 255).round().byte())
    return torch.cat(made)


def crops(pictures: torch.Tensor, generator: torch.Generator) -> Iterator[torch.Tensor]:
    """Endless batches of crops [16, 3, 64, 64] in 0..1, of which a quarter has other colours and two are smooth
    noise, so that images from outside the scenes come through as well."""

    def number(high: int) -> int:
        return int(torch.randint(high, (), generator=generator))

    def uniform(*shape: int) -> torch.Tensor:
        return torch.rand(shape, generator=generator)

    other = BATCH // 4
    while True:
        top, left = number(UNIT - CROP + 1), number(UNIT - CROP + 1)
        chosen = torch.randint(len(pictures), (BATCH,), generator=generator)
        batch = pictures[chosen, :, top : top + CROP, left : left + CROP].float() / 255
        if number(2):
            batch = batch.flip(3)
        swapped = batch[:other, torch.randperm(3, generator=generator)]
        batch[:other] = swapped * (0.5 + 0.6 * uniform(other, 3, 1, 1)) + 0.4 * (uniform(other, 3, 1, 1) - 0.5)
        batch[other : other + 2] = nn.functional.interpolate(uniform(2, 3, 6, 6), size=(CROP, CROP), mode="bicubic")
        yield batch.clamp(0, 1).contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def quality(network: Autoencoder, generator: torch.Generator) -> float:
    """Peak signal to noise ratio on 64 new scenes, in dB."""
    scenes = random_scenes(64, generator)
    pictures = render(scenes, random_layout(scenes, (1.0, 1.0), generator), UNIT, UNIT)[0]
    pictures = pictures.to(next(network.parameters()).device)
    made = network.decode(network.encode(pictures)).clamp(0, 1)
    return -10 * math.log10((made - pictures).square().mean().item())


# ---- the file ------------------------------------------------------------------------------------------------------


def save(network: Autoencoder, path: Path) -> None:
    """Write it under ComfyUI's names for TAESD, filled up to its 64 channels."""
    state = {}
    for name, value in network.state_dict().items():
        stored = name.replace("parametrizations.weight.original", "weight")
        filled = filled_up(value.detach().cpu().float())
        state[stored] = filled.to(EIGHT_BITS if filled.ndim == 4 else torch.float16)
    undone = {TINY_SCALE: torch.tensor(SCALE), TINY_SHIFT: torch.tensor(SHIFT)}  # what ComfyUI does to FLUX's latents
    save_file({**state, **undone}, path)


def filled_up(value: torch.Tensor) -> torch.Tensor:
    """A tensor with zeros wherever it is WIDTH long in channels."""
    shape = [STORED_WIDTH if size == WIDTH else size for size in value.shape]
    whole = value.new_zeros(shape)
    whole[tuple(slice(size) for size in value.shape)] = value
    return whole.contiguous()
