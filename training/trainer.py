"""The loop: updates of the weights on any number of GPUs, with checkpoints that a killed run goes on from exactly."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from ..errors import InputError
from . import checkpoints
from .batches import Batch, Batches, generator_for
from .ema import Ema
from .flow import Objective
from .networks import Networks
from .output import Output
from .progress import Progress
from .recipe import Recipe
from .schedule import Trapezoid
from .state import gather, restore

logger = logging.getLogger(__name__)

SPLIT = (DistributedType.DEEPSPEED, DistributedType.FSDP, DistributedType.MEGATRON_LM)


def train(
    recipe: Recipe,
    networks: Networks,
    batches: Batches,
    objective: Objective,
    base: Path,
    output: Output,
    *,
    optimizers: Sequence[Optimizer] = (),
    schedule: Callable[[int], float] | None = None,
    sample: Callable[[Networks, int], None] | None = None,
    settings: Mapping[str, object] | None = None,
    resume: bool = False,
    accelerator: Accelerator | None = None,
) -> None:
    """Train what requires gradients in `networks` and `objective`; checkpoints, samples and a log go to `output`.

    base: the checkpoint folder in the published layout that `networks` were read from; checkpoints are made like it.
    optimizers: over the trainable parameters, with learning rates that `schedule` (a factor by step) multiplies;
    without them AdamW and the trapezoid of the recipe. sample: makes pictures of the networks after so many steps, on
    the main process. settings: what else must be the same for a run to go on; plain JSON values.
    resume: go on from the newest checkpoint. Raises InputError and CheckpointError, in one sentence each.
    """
    accelerator = accelerator or new_accelerator(recipe)
    heads = objective.modules()
    step_of = accelerator.prepare(_Forward(networks, objective, heads))
    if recipe.gradient_checkpointing:
        networks.checkpoint_gradients()
    trained = {**networks.trainable(), **(dict(heads.named_parameters(prefix="objective")) if heads else {})}
    if not trained:
        raise InputError("Nothing in the networks requires gradients; let at least one parameter train.")
    optimizers = list(optimizers) or [adamw(recipe, trained)]
    base_rates = [[group["lr"] for group in optimizer.param_groups] for optimizer in optimizers]
    schedule = schedule or trapezoid(recipe)
    ema = Ema(networks.trainable(), recipe.ema) if recipe.ema else None
    record = {"recipe": asdict(recipe), "processes": accelerator.num_processes, **(settings or {})}
    record = json.loads(json.dumps(record))

    start = restore(output, record, trained, optimizers, ema) if resume else 0
    means = _means(accelerator)
    progress = Progress(output.log, start, recipe.steps, means, writes=accelerator.is_main_process)
    logger.info("%s of %s parameters train, from step %d.", *_counts(networks), start)
    for step in range(start, recipe.steps):
        factor = schedule(step)
        for optimizer, rates in zip(optimizers, base_rates, strict=True):
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * factor
        for part in range(recipe.accumulation):
            place = (step, part, accelerator.process_index)
            is_last = part == recipe.accumulation - 1
            with nullcontext() if is_last else accelerator.no_sync(step_of):
                batch = batches.batch(*place).to(accelerator.device)
                figures = step_of(batch, generator_for(recipe.seed, *place))
                accelerator.backward(figures["loss"] / recipe.accumulation)
            progress.add(figures)
        if recipe.max_norm is not None:
            nn.utils.clip_grad_norm_(trained.values(), recipe.max_norm)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        if ema:
            ema.update(step)

        done = step + 1
        saves = _is_due(done, recipe.save_every, recipe.steps)
        samples = sample is not None and recipe.sample_every and _is_due(done, recipe.sample_every, recipe.steps)
        if saves or _is_due(done, recipe.log_every, recipe.steps):
            progress.line(done, optimizers[0].param_groups[0]["lr"])
        if saves and accelerator.is_main_process:
            shown = ema.averages if ema else networks.trainable()
            state = gather(trained, optimizers, ema)
            logger.info("Saved %s", checkpoints.save(output, done, shown, base, state, record))
        if samples and accelerator.is_main_process:
            with ema.applied() if ema else nullcontext():
                sample(networks, done)
        if saves or samples:
            accelerator.wait_for_everyone()


def new_accelerator(recipe: Recipe) -> Accelerator:
    """Devices and precision, as accelerate's launcher and the recipe say; InputError for a way of splitting the model
    that this trainer does not do."""
    accelerator = Accelerator(mixed_precision=recipe.precision)
    if accelerator.distributed_type in SPLIT:
        raise InputError(
            f"accelerate is set to {accelerator.distributed_type.value}, and this trainer keeps a whole copy of the "
            "model on each GPU; choose plain multi-GPU in `accelerate config`."
        )
    return accelerator


def adamw(recipe: Recipe, trained: Mapping[str, nn.Parameter]) -> Optimizer:
    """The published optimiser: one learning rate for FLUX, one for the connector (and what is not named here), one
    for the encoder."""
    rates = {"flux": recipe.flux_lr, "connector": recipe.connector_lr, "qwen": recipe.qwen_lr}
    groups: dict[str, list[nn.Parameter]] = {}
    for name, parameter in trained.items():
        part = name.split(".")[0]
        groups.setdefault(part if part in rates else "connector", []).append(parameter)
    listed = [{"params": parameters, "lr": rates[part]} for part, parameters in groups.items()]
    return AdamW(listed, betas=recipe.betas, weight_decay=recipe.weight_decay, fused=True)


def trapezoid(recipe: Recipe) -> Trapezoid:
    """The published schedule over the steps of a recipe."""
    return Trapezoid(recipe.steps, round(recipe.warm_up * recipe.steps), round(recipe.decay * recipe.steps))


class _Forward(nn.Module):
    """One forward pass as a module, which is what accelerate spreads over GPUs."""

    def __init__(self, networks: Networks, objective: Objective, heads: nn.Module | None):
        super().__init__()
        self.networks, self.heads = networks, heads
        self.objective = objective

    def forward(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        return self.objective.loss(self.networks, batch, generator)


def _is_due(done: int, every: int, steps: int) -> bool:
    return done == steps or (every > 0 and done % every == 0)


def _counts(networks: Networks) -> tuple[str, str]:
    trained = sum(parameter.numel() for parameter in networks.trainable().values())
    return f"{trained:,}", f"{sum(parameter.numel() for parameter in networks.parameters()):,}"


def _means(accelerator: Accelerator) -> Callable[[Tensor], Tensor]:
    if accelerator.num_processes == 1:
        return lambda values: values
    return lambda values: accelerator.reduce(values, "mean")
