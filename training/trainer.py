"""The loop: updates of the weights on any number of GPUs, with checkpoints that a killed run goes on from exactly."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from datetime import timedelta

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, DistributedType, InitProcessGroupKwargs
from torch import Tensor, nn
from torch.optim import Optimizer

from systems.common.errors import InputError, plain

from . import checkpoints
from .checkpoints import Export
from .curve import draw_curve
from .generators import generator_for
from .learner import Learner
from .output import Output
from .progress import Diverged, Progress
from .protocols import Batch, Batches, Networks, Objective
from .recipe import Recipe
from .schedule import Trapezoid

logger = logging.getLogger(__name__)

# A function that makes the optimisers of the trainable parameters, which come by name.
NewOptimizers = Callable[[Mapping[str, nn.Parameter]], Sequence[Optimizer]]
# The ways of splitting a model over GPUs that this trainer does not offer.
SPLIT = (DistributedType.DEEPSPEED, DistributedType.FSDP, DistributedType.MEGATRON_LM)
# The time that processes wait for each other, such as for the one that writes tens of gigabytes to a slow disk.
PATIENCE = timedelta(hours=6)


def train(
    recipe: Recipe,
    networks: Networks,
    batches: Batches,
    objective: Objective,
    output: Output,
    *,
    optimizers: NewOptimizers,
    export: Export,
    schedule: Callable[[int], float] | None = None,
    sample: Callable[[Networks, int], None] | None = None,
    settings: Mapping[str, object] | None = None,
    resume: bool = False,
    accelerator: Accelerator | None = None,
) -> None:
    """Train what requires gradients in `networks` and `objective`; checkpoints, samples and a log go to `output`.

    optimizers: with learning rates that `schedule` (a factor by step) multiplies, the trapezoid of the recipe if not
    given. export: writes the published folder of a checkpoint. sample: makes images of the networks after so many
    steps, on the main process. settings: what else must be the same for a run to go on; plain JSON values.
    resume: go on from the newest checkpoint. Raises InputError and CheckpointError, in one sentence each, and OSError;
    when it is the data, the log or a sample that fails, what has been learnt until then is saved first.
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
    learner = Learner(trainable, own, optimizers({**trainable, **own}), recipe.ema)
    record = {"recipe": asdict(recipe), "processes": accelerator.num_processes, **(settings or {})}
    start = checkpoints.load(output, learner, record) if resume else 0
    progress = Progress(output.log, start, recipe.steps, accelerator)
    logger.info("%s of %s parameters train, from step %d.", *_counts(networks), start)
    schedule = schedule or trapezoid(recipe)

    def save(done: int) -> None:
        if not accelerator.is_main_process or done == start or output.checkpoint(done).exists():
            return
        if not learner.is_finite:
            raise Diverged("A weight is no number", done)
        logger.info("Saved %s", plain(checkpoints.save(output, done, learner, export, record)))

    done = start
    try:
        for step in range(start, recipe.steps):
            figures = []
            for part in range(recipe.accumulation):
                batch = _read(batches, step, part, accelerator)
                turn = part * accelerator.num_processes + accelerator.process_index  # the same whoever computes it
                with nullcontext() if part == recipe.accumulation - 1 else accelerator.no_sync(forward):
                    figures.append(forward(batch, generator_for(recipe.seed, step, turn)))
                    accelerator.backward(figures[-1]["loss"] / recipe.accumulation)
            learner.update(step, schedule(step), recipe.max_norm)
            progress.add(figures)

            done = step + 1
            is_saved = _is_due(done, recipe.save_every, recipe.steps)
            if is_saved or _is_due(done, recipe.log_every, recipe.steps):
                progress.line(done, learner.rate)
            if is_saved:
                save(done)
                if accelerator.is_main_process:
                    draw_curve(output.log, output.curve)
                accelerator.wait_for_everyone()
            if sample and recipe.sample_every and _is_due(done, recipe.sample_every, recipe.steps):
                if accelerator.is_main_process:
                    with learner.shown(), accelerator.autocast(), torch.no_grad():
                        sample(networks, done)
                accelerator.wait_for_everyone()
    except Diverged:
        raise
    except (InputError, OSError) as error:
        save(done)
        if isinstance(error, InputError):  # met by all, or by the main process while the others wait for its sample
            accelerator.wait_for_everyone()  # the launcher stops all once one has ended
        raise


def _read(batches: Batches, step: int, part: int, accelerator: Accelerator) -> Batch:
    """This process's batch; when one process cannot read its own, InputError comes to all of them."""
    batch, failure = None, None
    try:
        batch = batches.batch(step, part, accelerator.process_index).to(accelerator.device)
    except InputError as error:
        failure = error
    if accelerator.num_processes > 1:
        failures = torch.tensor(float(failure is not None), device=accelerator.device)
        if accelerator.reduce(failures, "sum") > 0:
            failure = failure or InputError("Another process cannot read its batch; its own sentence says why.")
    if failure:
        raise failure
    return batch


def new_accelerator(recipe: Recipe) -> Accelerator:
    """Devices and precision, as accelerate's launcher and the recipe say; InputError for a way of splitting the model
    that this trainer does not do."""
    try:
        handlers = [
            InitProcessGroupKwargs(timeout=PATIENCE),
            DistributedDataParallelKwargs(gradient_as_bucket_view=True),  # else a second copy of all gradients
        ]
        accelerator = Accelerator(mixed_precision=recipe.precision, kwargs_handlers=handlers)
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


def trapezoid(recipe: Recipe) -> Trapezoid:
    """The schedule over the steps of a recipe."""
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
