"""The embedded checkpoint's encoder: a Qwen2-VL of 1.4 million parameters, trained to say of each token what it shows.

The heads that say it are dropped afterwards; what stays are hidden states in which kinds, colours, fills, outlines and
backgrounds can be read.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from einops import repeat
from torch import nn
from torch.nn import functional

from systems.qwen2vl_flux.checkpoint import Qwen2VLConfig
from training.qwen2vl_flux.batch import Patches
from training.qwen2vl_flux.encoder import Qwen2VLEncoder, new_parts

from ..world.references import Source, random_source, render_for_encoder
from ..world.scenes import BACKGROUNDS, COLOURS, KINDS, PATTERNS, random_layout, random_scenes
from .plain_loop import fit

WIDTH = 128

STEPS, BATCH, RATE = 3200, 32, 1.5e-3
OPTIMIZER = {"warm_up": 100, "betas": (0.9, 0.98), "weight_decay": 0.02, "fused": True}
# The numbers of chunks and of the training images in each, which have one size.
CHUNKS, CHUNK = 112, 64
# The least fraction of a token that an object must cover to be what the token shows.
LEAST_COVER = 0.08
# The side of the small mask that each token learns to draw.
OUTLINE = 7


def new_encoder(config: Qwen2VLConfig) -> Qwen2VLEncoder:
    """An encoder of random weights."""
    encoder = Qwen2VLEncoder(config)
    encoder.visual, encoder.model = new_parts(config)
    return encoder


def hidden_states(encoder: Qwen2VLEncoder, pictures: torch.Tensor) -> torch.Tensor:
    """Last hidden states [B, rows * columns, 128] at the image tokens of images [B, 3, rows * 28, columns * 28] in
    0..1."""
    config = encoder.config
    vision, factor = config.vision, config.factor
    mean, deviation = (pictures.new_tensor(each)[:, None, None] for each in (config.image_mean, config.image_std))
    values = repeat(
        (pictures - mean) / deviation,
        "b rgb (r mr ph) (c mc pw) -> b (r c mr mc) (rgb t ph pw)",
        mr=vision.merge, mc=vision.merge, ph=vision.patch, pw=vision.patch, t=vision.temporal_patch,
    )  # fmt: skip
    height, width = pictures.shape[-2:]
    return encoder(Patches(values, height // factor * vision.merge, width // factor * vision.merge))


# ---- training ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Chunk:
    """Images [N, 3, H, W] as bytes, what each token shows [N, 5, T] as indices (the last of kind, colour and fill
    means none) and how much of it objects cover [N, T, 49] as bytes."""

    pictures: torch.Tensor
    labels: torch.Tensor
    masks: torch.Tensor


class Heads(nn.ModuleDict):
    """What is read from each token."""

    CLASSES = {"kind": len(KINDS) + 1, "colour": len(COLOURS) + 1, "fill": 3}
    GROUND = {"background": len(BACKGROUNDS), "pattern": len(PATTERNS)}
    NONE_WEIGHT = 0.4

    def __init__(self) -> None:
        sizes = {**self.CLASSES, **self.GROUND, "mask": OUTLINE**2}
        super().__init__({name: nn.Linear(WIDTH, size) for name, size in sizes.items()})

    def loss(self, hidden: torch.Tensor, labels: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        """Cross entropy of what each token shows, and of its small mask."""
        total = 4 * functional.binary_cross_entropy_with_logits(self["mask"](hidden), masks)
        for index, (name, classes) in enumerate({**self.CLASSES, **self.GROUND}.items()):
            weight = hidden.new_ones(classes)
            if name in self.CLASSES:
                weight[-1] = self.NONE_WEIGHT
            total = total + functional.cross_entropy(self[name](hidden).mT, labels[:, index], weight)
        return total

    @torch.no_grad()
    def right(self, hidden: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
        """Share of tokens whose label is found; of tokens on objects for what only objects have."""
        shares = {}
        for index, (name, classes) in enumerate({**self.CLASSES, **self.GROUND}.items()):
            wanted = labels[:, index]
            hit = self[name](hidden).argmax(-1) == wanted
            shares[name] = hit[wanted < classes - 1 if name in self.CLASSES else ...].float().mean().item()
        return shares


def train(
    config: Qwen2VLConfig, generator: torch.Generator, device: torch.device, steps: int = STEPS
) -> Qwen2VLEncoder:
    """A trained encoder of that configuration."""
    encoder, heads = new_encoder(config).to(device), Heads().to(device)
    chunks = [random_chunk(generator) for _ in range(CHUNKS)]
    unseen = random_chunk(generator, Source(128, 128, large=True))
    parameters = [*encoder.parameters(), *heads.parameters()]

    def loss(step: int) -> torch.Tensor:
        chunk = chunks[int(torch.randint(CHUNKS, (), generator=generator))]
        chosen = torch.randint(CHUNK, (BATCH,), generator=generator)
        pictures = tinted(chunk.pictures[chosen].float() / 255, generator).to(device)
        labels, masks = chunk.labels[chosen].to(device), chunk.masks[chosen].to(device)
        with torch.autocast(device.type, torch.bfloat16):
            hidden = hidden_states(encoder, pictures)
        return heads.loss(hidden.float(), labels, masks.float() / 255)

    @torch.no_grad()
    def figures() -> str:
        shares = heads.right(hidden_states(encoder, unseen.pictures.to(device).float() / 255), unseen.labels.to(device))
        return "; on unseen scenes " + ", ".join(f"{name} {share:.3f}" for name, share in shares.items())

    fit("encoder", parameters, loss, steps, RATE, figures=figures, **OPTIMIZER)
    return encoder.eval()


def random_chunk(generator: torch.Generator, source: Source | None = None) -> Chunk:
    source = source or random_source(generator)
    scenes = random_scenes(CHUNK, generator)
    pictures, covered = render_for_encoder(scenes, random_layout(scenes, source.canvas, generator), source)
    share, owner = functional.adaptive_avg_pool2d(covered, source.grid).flatten(2).max(1)
    bare = share < LEAST_COVER

    def of_objects(values: torch.Tensor, none: int) -> torch.Tensor:
        return values.long().gather(1, owner).masked_fill(bare, none)

    def of_ground(values: torch.Tensor) -> torch.Tensor:
        return values[:, None].expand_as(owner)

    labels = torch.stack(
        [
            of_objects(scenes.kind, len(KINDS)),
            of_objects(scenes.colour, len(COLOURS)),
            of_objects(scenes.striped, 2),
            of_ground(scenes.background),
            of_ground(scenes.pattern),
        ],
        dim=1,
    )
    rows, columns = source.grid
    masks = functional.adaptive_avg_pool2d(covered.sum(1), (rows * OUTLINE, columns * OUTLINE)).clamp(0, 1)
    masks = masks.reshape(-1, rows, OUTLINE, columns, OUTLINE).transpose(2, 3).reshape(CHUNK, rows * columns, -1)
    return Chunk((pictures * 255).round().byte(), labels, (masks * 255).round().byte())


def tinted(pictures: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Images a little brighter or darker, and a little off in each channel."""
    number = len(pictures)
    gain = 1 + 0.1 * (torch.rand(number, 1, 1, 1, generator=generator) - 0.5)
    return (pictures * gain + 0.02 * torch.randn(number, 3, 1, 1, generator=generator)).clamp(0, 1)
