"""The numbers of a run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What the loop reads; a system's own recipe adds its learning rates and gives everything its published value.

    steps: updates of the weights; warm_up, decay: fractions of them in which the learning rate rises and falls.
    batch_size: images of one forward pass on one GPU; accumulation: such passes in one update.
    max_norm: the gradient is cut to this norm; None leaves it.
    ema: decay of a running average of the weights, which samples and checkpoints then show; None keeps none.
    precision: "bf16" computes in bfloat16 over float32 weights, "no" in float32.
    gradient_checkpointing: compute activations again in the backward pass instead of keeping them.
    log_every, save_every, sample_every: steps between two lines of the log, checkpoints, sheets of samples (0: none).
    """

    steps: int
    warm_up: float
    decay: float
    batch_size: int
    accumulation: int
    max_norm: float | None = None
    ema: float | None = None
    precision: str = "bf16"
    gradient_checkpointing: bool = True
    seed: int = 0
    log_every: int = 10
    save_every: int = 1000
    sample_every: int = 500
