"""A prompt must not spoil the small model's images: its text encoders are random and know nothing of words, so the
projection of their tokens learns to change the velocity as little as possible."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn
from transformers import T5EncoderModel

from training.generators import generator_for
from training.protocols import Batches
from training.qwen2vl_flux.batch import Batch
from training.qwen2vl_flux.flow import mixed
from training.qwen2vl_flux.networks import Networks

from .variation import USUAL_GUIDANCE, random_start

# The number of tokens of a prompt, which is filled up with zeros.
TOKENS = 256
WORDS = (2, 40)
END = 1
# The deviation of the projection's weights, which stay random so that two prompts give slightly different images.
WEIGHT_STD = 0.02


def new_embedder(width: int, hidden: int) -> nn.Linear:
    """The projection of a prompt's tokens, before it has learned anything."""
    layer = nn.Linear(width, hidden)
    nn.init.normal_(layer.weight, std=WEIGHT_STD)
    nn.init.zeros_(layer.bias)
    return layer


class PromptedBatches:
    """The batches of another source, each with random words (a Batches)."""

    def __init__(self, batches: Batches, t5: T5EncoderModel, seed: int) -> None:
        self.batches, self.t5, self.seed = batches, t5, seed

    @torch.no_grad()
    def batch(self, step: int, part: int, rank: int) -> Batch:
        batch = self.batches.batch(step, part, rank)
        generator = generator_for(self.seed, step, part, rank, 2)  # 1 is the batch's
        ids = torch.randint(2, self.t5.config.vocab_size, (len(batch.latents), TOKENS), generator=generator)
        length = torch.randint(*WORDS, (len(ids), 1), generator=generator)
        place = torch.arange(TOKENS)
        ids = ids.masked_fill(place == length, END).masked_fill(place > length, 0)
        return replace(batch, prompt=self.t5(ids).last_hidden_state.float())


class PromptInvariance:
    """The velocity under a prompt should be the one without."""

    def modules(self) -> None:
        return None

    def loss(self, networks: Networks, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        latents = batch.latents
        noise, times, _ = random_start(latents, generator)
        noisy, guidance = mixed(latents, noise, times), torch.full_like(times, USUAL_GUIDANCE)
        context = networks.context(batch)
        with torch.no_grad():
            wanted = networks.velocity(noisy, times, context, None, guidance)
        velocity = networks.velocity(noisy, times, context, None, guidance, networks.prompt(batch))
        return {"loss": (velocity.float() - wanted.float()).square().mean()}
