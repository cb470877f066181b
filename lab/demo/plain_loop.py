"""The loop of the networks that are small enough to need no trainer: no checkpoints, no other processes."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable

import torch
from torch import nn

from training.ema import Ema

LOG_EVERY = 200

log = logging.getLogger(__name__)


def fit(
    name: str,
    parameters: Iterable[nn.Parameter],
    loss: Callable[[int], torch.Tensor],
    steps: int,
    rate: float,
    *,
    warm_up: float,
    average: float | None = None,
    figures: Callable[[], str] = str,
    **adamw: object,
) -> None:
    """AdamW on loss(step), with a warm-up of so many steps and a cosine down to 2 %; gradients are cut to a norm of 1.

    average: decay of a running average, which the parameters are in the end; figures: what else to log of a step;
    adamw: the optimiser's settings. Raises RuntimeError for gradients that are no numbers.
    """
    parameters = list(parameters)
    optimizer = torch.optim.AdamW(parameters, lr=rate, **adamw)
    ema = Ema({str(number): value for number, value in enumerate(parameters)}, average) if average else None
    for step in range(steps):
        warm = min(1.0, (step + 1) / warm_up)
        optimizer.param_groups[0]["lr"] = rate * warm * (0.02 + 0.49 * (1 + math.cos(math.pi * (step / steps))))
        value = loss(step)
        optimizer.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0, error_if_nonfinite=True)
        optimizer.step()
        if ema:
            ema.update(step)
        if step % LOG_EVERY == 0 or step == steps - 1:
            log.info("  %s, step %d of %d: loss %.4f%s", name, step, steps, value.item(), figures())
    if ema:
        with torch.no_grad():
            for parameter, kept in zip(parameters, ema.averages.values(), strict=True):
                parameter.copy_(kept)
