"""The loop: updates of the weights on any number of GPUs, with checkpoints that a killed run goes on from exactly."""

from __future__ import annotations

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
from .curve import draw_curve
from .flow import Objective
from .learner import Learner
from .networks import Networks
from .output import Output
from .progress import Progress
from .recipe import Recipe
from .schedule import Trapezoid

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
    forward = accelerator.prepare(_Forward(networks, objective, heads))
    if recipe.gradient_checkpointing:
        networks.checkpoint_gradients()
    trainable = networks.trainable()
    own = dict(heads.named_parameters(prefix="objective")) if heads else {}
    if not trainable and not own:
        raise InputError("Nothing in the networks requires gradients; let at least one parameter train.")
    optimizers = list(optimizers) or [adamw(recipe, {**trainable, **own})]
    learner = Learner(trainable, own, optimizers, recipe.ema)
    record = {"recipe": asdict(recipe), "processes": accelerator.num_processes, **(settings or {})}
    start = checkpoints.load(output, learner, record) if resume else 0
    progress = Progress(output.log, start, recipe.steps, accelerator)
    logger.info("%s of %s parameters train, from step %d.", *_counts(networks), start)
    schedule = schedule or trapezoid(recipe)

    def save(done: int) -> None:
        progress.line(done, learner.rate)
        if accelerator.is_main_process:
            logger.info("Saved %s", checkpoints.save(output, done, learner, base, record))
            draw_curve(output.log, output.curve)

    for step in range(start, recipe.steps):
        figures = []
        for part in range(recipe.accumulation):
            turn = part * accelerator.num_processes + accelerator.process_index  # the same whoever computes it
            try:
                batch = batches.batch(step, part, accelerator.process_index).to(accelerator.device)
            except InputError:
                if step > start and accelerator.num_processes == 1:  # several would wait for each other in `save`
                    save(step)
                raise
            with nullcontext() if part == recipe.accumulation - 1 else accelerator.no_sync(forward):
                figures.append(forward(batch, generator_for(recipe.seed, step, turn)))
                accelerator.backward(figures[-1]["loss"] / recipe.accumulation)
        learner.update(step, schedule(step), recipe.max_norm)
        progress.add(figures)

        done = step + 1
        if _is_due(done, recipe.log_every, recipe.steps):
            progress.line(done, learner.rate)
        if _is_due(done, recipe.save_every, recipe.steps):
            save(done)
            accelerator.wait_for_everyone()
        if sample and recipe.sample_every and _is_due(done, recipe.sample_every, recipe.steps):
            if accelerator.is_main_process:
                with learner.shown(), accelerator.autocast(), torch.no_grad():
                    sample(networks, done)
            accelerator.wait_for_everyone()


def new_accelerator(recipe: Recipe) -> Accelerator:
    """Devices and precision, as accelerate's launcher and the recipe say; InputError for a way of splitting the model
    that this trainer does not do."""
    try:
        accelerator = Accelerator(mixed_precision=recipe.precision)
    except ValueError as error:  # bf16 where the device has none
        raise InputError(
            f"accelerate cannot compute in {recipe.precision} here ({error}); try --precision no."
        ) from None
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
