"""How the embedded checkpoint's FLUX and connector learn: the objectives and the optimizers.

The trainer is that of the published recipe; a network that starts from nothing needs a higher learning rate, Muon
(https://kellerjordan.github.io/posts/muon/) for the matrices of its blocks, and a hint: two heads that read kind and
colour from its image tokens half way through, and are dropped in the end.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from diffusers import FluxTransformer2DModel
from torch import Tensor, nn
from torch.nn import functional

from training.qwen2vl_flux.batch import Batch
from training.qwen2vl_flux.flow import logit_normal, mixed
from training.qwen2vl_flux.networks import Networks

from ..world.scenes import COLOURS, KINDS
from .encoder import WIDTH as TOKEN_WIDTH
from .muon import Muon

# The width of the CLIP stand-in, whose pooled vector the small FLUX does not read.
POOLED_WIDTH = 4
DOUBLE, SINGLE = 2, 6
# The single block whose image tokens are read for the hint, beside the last double block's.
READ_SINGLE = 2
# The weight of the hint in the loss.
HINT = 0.15
# The fraction of times drawn evenly; the others favour noise, where the layout is decided.
EVEN_TIMES = 0.25
TIME_MEAN, TIME_SPREAD = 0.7, 1.1
# The factor of the learning rate for Muon.
MUON = 2.0
GUIDANCE, USUAL_GUIDANCE = (1.0, 6.0), 3.5
# The factor of g - 1 in the guidance scale 1 + 0.4 (g - 1), at which rollouts under guidance g are sampled.
SHARPENED = 0.4
# The fraction of images without tokens whose context is zero altogether, as ConditioningZeroOut makes it.
ZEROED = 0.5


def new_networks() -> Networks:
    """FLUX of 2.9 million parameters and its connector, from nothing."""
    flux = FluxTransformer2DModel(
        patch_size=1,
        in_channels=64,
        num_layers=DOUBLE,
        num_single_layers=SINGLE,
        attention_head_dim=128,
        num_attention_heads=1,
        joint_attention_dim=TOKEN_WIDTH,
        pooled_projection_dim=POOLED_WIDTH,
        guidance_embeds=True,
        axes_dims_rope=(16, 56, 56),
    )
    connector = nn.Linear(TOKEN_WIDTH, TOKEN_WIDTH)
    nn.init.eye_(connector.weight)
    nn.init.normal_(connector.bias, std=0.5)
    with torch.no_grad():
        nn.init.zeros_(flux.proj_out.weight)
        nn.init.zeros_(flux.proj_out.bias)
        for block in (*flux.transformer_blocks, *flux.single_transformer_blocks):
            for name, module in block.named_children():
                if name.startswith("norm") and hasattr(module, "linear"):
                    nn.init.zeros_(module.linear.weight)
                    nn.init.zeros_(module.linear.bias)
        nn.init.zeros_(flux.norm_out.linear.weight)
        nn.init.zeros_(flux.norm_out.linear.bias)
        nn.init.zeros_(flux.time_text_embed.text_embedder.linear_1.weight)
    flux.time_text_embed.text_embedder.linear_1.weight.requires_grad_(False)
    return Networks(flux, connector)


def optimizers(parameters: Mapping[str, nn.Parameter], rate: float) -> list[torch.optim.Optimizer]:
    """Muon at MUON times the rate for the matrices of transformer blocks but for their modulation, AdamW for all else
    that trains."""
    trained = {name: value for name, value in parameters.items() if value.requires_grad}
    matrices = {
        name: value
        for name, value in trained.items()
        if "transformer_blocks." in name and ".norm" not in name and value.ndim == 2
    }
    others = [value for name, value in trained.items() if name not in matrices]
    return [
        Muon(list(matrices.values()), lr=MUON * rate, weight_decay=0.02, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(
            [
                {"params": [value for value in others if value.ndim > 1], "weight_decay": 0.02},
                {"params": [value for value in others if value.ndim < 2], "weight_decay": 0.0},
            ],
            lr=rate,
            betas=(0.9, 0.98),
            fused=True,
        ),
    ]


@dataclass(frozen=True)
class Cosine:
    """A warm-up of 80 steps, a plateau until `turn` (a share of the run), a cosine down to 3 %."""

    steps: int
    turn: float

    def __call__(self, step: int) -> float:
        done = step / self.steps
        if done < self.turn:
            return min(1.0, (step + 1) / 80)
        return 0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * (done - self.turn) / (1 - self.turn)))


def random_times(number: int, generator: torch.Generator) -> Tensor:
    """Times [number] in 0..1, mostly noisy ones."""
    times = logit_normal(number, generator, TIME_MEAN, TIME_SPREAD)
    even = torch.rand(number, generator=generator)
    return torch.where(torch.rand(number, generator=generator) < EVEN_TIMES, even, times)


def random_start(latents: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Noise of the latents' shape, times and guidance [B], on their device."""
    noise = torch.randn(latents.shape, generator=generator)
    drawn = noise, random_times(len(latents), generator), random_guidance(len(latents), generator)
    return tuple(values.to(latents) for values in drawn)


def random_guidance(number: int, generator: torch.Generator) -> Tensor:
    low, high = GUIDANCE
    return low + (high - low) * torch.rand(number, generator=generator)


class HintedFlow:
    """Rectified flow at any guidance, and the hint."""

    def __init__(self, networks: Networks) -> None:
        self.heads = nn.ModuleList(nn.Linear(networks.flux.inner_dim, len(KINDS) + len(COLOURS) + 2) for _ in range(2))
        self.read: list[Tensor] = []
        flux = networks.flux
        for block in (flux.transformer_blocks[-1], flux.single_transformer_blocks[READ_SINGLE]):
            block.register_forward_hook(lambda module, inputs, outputs: self.read.append(outputs[1]))

    def modules(self) -> nn.Module:
        return self.heads

    def loss(self, networks: Networks, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        noise, times, guidance = random_start(batch.latents, generator)
        noisy, wanted = mixed(batch.latents, noise, times), noise - batch.latents
        return self.figures(networks, batch, networks.context(batch), noisy, times, guidance, wanted)

    def figures(
        self,
        networks: Networks,
        batch: Batch,
        context: Tensor,
        noisy: Tensor,
        times: Tensor,
        guidance: Tensor,
        wanted: Tensor,
    ) -> dict[str, Tensor]:
        """The loss, and its parts, where the velocity of noisy latents [B, 16, h, w] at times [B], under guidance [B]
        and context [B, T, C], should be the one that is wanted, of the latents' shape."""
        self.read.clear()
        velocity = networks.velocity(noisy, times, context, None, guidance)
        flow, hint = (velocity.float() - wanted).square().mean(), self._hint(batch.extras["labels"])
        return {"loss": flow + HINT * hint, "flow": flow.detach(), "hint": hint.detach()}

    def _hint(self, labels: Tensor) -> Tensor:
        """Cross entropy of kind and colour of what each patch shows; labels [B, 2, patches]."""
        kinds, colours = labels.unbind(1)
        total = 0
        for head, tokens in zip(self.heads, self.read, strict=True):
            read = head(tokens).float().mT
            total = total + functional.cross_entropy(read[:, : len(KINDS) + 1], kinds)
            total = total + functional.cross_entropy(read[:, len(KINDS) + 1 :], colours)
        return total / 2


class RolloutFlow(HintedFlow):
    """The velocity that a batch brings with it, at its noisy latents, times and guidance; half of the contexts without
    tokens are zero."""

    def loss(self, networks: Networks, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        chance = torch.rand(len(batch.latents), generator=generator).to(batch.latents)
        empty = (batch.weights == 0).all(1) & (chance < ZEROED)
        context = networks.context(batch).float().masked_fill(empty[:, None, None], 0)
        given = (batch.extras[name] for name in ("noisy", "times", "guidance", "velocity"))
        return self.figures(networks, batch, context, *given)


class Guided:
    """A trained network at a guidance scale instead of a guidance."""

    def __init__(self, networks: Networks) -> None:
        self.networks = copy.deepcopy(networks).eval().requires_grad_(False)

    @torch.no_grad()
    def velocity(self, batch: Batch, noisy: Tensor, times: Tensor, guidance: Tensor) -> Tensor:
        """Its velocity for noisy latents at the scale that each guidance [B] stands for."""
        usual = torch.full_like(guidance, USUAL_GUIDANCE)
        nothing = Batch(batch.latents, torch.zeros_like(batch.tokens))
        given, free = (
            self.networks.velocity(noisy, times, self.networks.context(each), None, usual).float()
            for each in (batch, nothing)
        )
        scale = 1 + SHARPENED * (guidance - 1)
        return free + scale[:, None, None, None] * (given - free)
