"""The numbers of a run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """Defaults are the published recipe of Qwen2VL-Flux on 8 GPUs, where it is known.

    steps: updates of the weights; warm_up, decay: shares of them (published: "short", "linear"; the shares are ours).
    batch_size: pictures of one forward pass on one GPU; accumulation: such passes in one update.
    flux_lr, connector_lr, qwen_lr: learning rates of the three groups; betas, weight_decay: AdamW's.
    max_norm: the gradient is cut to this norm; None leaves it.
    ema: decay of a running average of the weights, which samples and checkpoints then show; None keeps none.
    precision: "bf16" computes in bfloat16 over float32 weights, "no" in float32.
    gradient_checkpointing: compute activations again in the backward pass instead of keeping them.
    log_every, save_every, sample_every: steps between two lines of the log, checkpoints, sheets of samples (0: none).
    """

    steps: int = 100_000
    warm_up: float = 0.01
    decay: float = 0.2
    batch_size: int = 8
    accumulation: int = 2
    flux_lr: float = 1e-5
    connector_lr: float = 1e-5
    qwen_lr: float = 1e-5
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = 0.1
    max_norm: float | None = None
    ema: float | None = None
    precision: str = "bf16"
    gradient_checkpointing: bool = True
    seed: int = 0
    log_every: int = 10
    save_every: int = 1000
    sample_every: int = 500
