"""One run of train.py: from its options to the trainer."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import torch
from accelerate import Accelerator

from systems.common.errors import InputError
from systems.qwen2vl_flux.checkpoint import read_config

from ..output import Output
from ..trainer import new_accelerator, train
from .autoencoder import read_autoencoder
from .checkpoint import export
from .flow import RectifiedFlow
from .networks import read_networks
from .optimizer import adamw
from .options import Options
from .row_batches import Frozen, RowBatches
from .rows import Row, read_rows
from .samples import Samples
from .stages import chosen_blocks, stage_blocks
from .texts import T5, pooled_of_nothing, read_t5

logger = logging.getLogger(__name__)


def run(options: Options) -> None:
    """Read what the options name, train, and leave the results in the output folder.

    Raises InputError and CheckpointError, in one sentence each, for everything that cannot be used.
    """
    accelerator = new_accelerator(options.recipe)
    if not accelerator.is_main_process:
        logging.disable()
    output = Output(options.output)
    if options.data.is_dir() and options.output.resolve().is_relative_to(options.data.resolve()):
        raise InputError(
            f"{options.output} lies in {options.data}, where its samples would be taken for images to learn from; "
            "give another folder."
        )
    with output.claim() if accelerator.is_main_process else nullcontext():
        if accelerator.is_main_process and output.is_begun and not options.resume:
            raise InputError(
                f"{options.output} holds a run already; go on with it by --resume, or give another folder."
            )
        accelerator.wait_for_everyone()
        _train(options, output, accelerator)
        accelerator.end_training()


def _train(options: Options, output: Output, accelerator: Accelerator) -> None:
    rows = read_rows(options.data)
    frozen_dtype = torch.bfloat16 if options.recipe.precision == "bf16" else torch.float32
    frozen = Frozen(
        encoder=read_config(options.checkpoint / "qwen2-vl"),
        autoencoder=read_autoencoder(options.checkpoint).to(accelerator.device),
        pooled=pooled_of_nothing(options.checkpoint),
        t5=_t5(rows, options.checkpoint, frozen_dtype, accelerator.device),
        device=accelerator.device,
    )
    batches = RowBatches(
        rows,
        frozen,
        side=options.side,
        size=options.recipe.batch_size,
        seed=options.recipe.seed,
        parts=options.recipe.accumulation,
        processes=accelerator.num_processes,
    )
    for kind, numbers in batches.kinds.items():
        logger.info("Images at %d x %d%s: %d", *kind.image, " with a prompt" * kind.has_prompt, len(numbers))
    networks = read_networks(
        options.checkpoint, blocks_of(options), options.qwen_layers, frozen_dtype, accelerator.device
    )
    train(
        options.recipe,
        networks,
        batches,
        RectifiedFlow(options.guidance),
        output,
        optimizers=lambda trained: [adamw(options.recipe, trained)],
        export=partial(export, options.checkpoint),
        sample=Samples(batches, frozen.autoencoder, output.samples, options.guidance),
        settings={
            "checkpoint": str(options.checkpoint),
            "data": batches.fingerprint,
            "blocks": options.stage or list(options.blocks or ["all"]),
            "qwen_layers": options.qwen_layers,
            "side": options.side,
            "guidance": options.guidance,
        },
        resume=options.resume,
        accelerator=accelerator,
    )


def blocks_of(options: Options) -> Callable[[int, int], Collection[int]]:
    """From the numbers of double and single blocks to those that train."""
    if options.stage is not None:
        return lambda double, single: stage_blocks(options.stage, double, single)
    return lambda double, single: chosen_blocks(options.blocks, double, single)


def _t5(rows: list[Row], checkpoint: Path, dtype: torch.dtype, device: torch.device) -> T5 | None:
    """T5, where a row has a prompt."""
    return read_t5(checkpoint, dtype).to(device) if any(row.prompt for row in rows) else None
