"""The command line of train.py. Standard library only: it answers before anything large is imported."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from client.arguments import Parser, folder, whole
from systems.qwen2vl_flux.layout import is_checkpoint

from .recipe import Qwen2VLFluxRecipe
from .stages import STAGES

ALL = "all"
MOST_BLOCKS = 1024


@dataclass(frozen=True)
class Options:
    """stage: a published one, or None for `blocks`: numbers of FLUX's blocks, or None for all of them. side: longest
    edge of the buckets."""

    checkpoint: Path
    data: Path
    output: Path
    resume: bool
    stage: int | None
    blocks: tuple[int, ...] | None
    qwen_layers: int
    side: int
    guidance: float
    recipe: Qwen2VLFluxRecipe


def training_options(arguments: Sequence[str]) -> Options:
    """Parse and check the arguments; exits with 2 and one sentence when one is wrong. Paths come back absolute."""
    given = {name: value for name, value in vars(_parser().parse_args(arguments)).items() if value is not None}
    recipe = Qwen2VLFluxRecipe()
    changes = {name: given[name] for name in vars(recipe) if name in given}
    if "lr" in given:
        changes.update(dict.fromkeys(("flux_lr", "connector_lr", "qwen_lr"), given["lr"]))
    return Options(
        checkpoint=given["checkpoint"],
        data=given["data"],
        output=given["output"],
        resume=given["resume"],
        stage=given.get("stage"),
        blocks=None if given.get("blocks") in (None, ALL) else given["blocks"],
        qwen_layers=given["qwen_layers"],
        side=given["side"],
        guidance=given["guidance"],
        recipe=replace(recipe, **changes),
    )


def _parser() -> argparse.ArgumentParser:
    recipe = Qwen2VLFluxRecipe()
    parser = Parser(
        prog="train.py",
        description="Train Qwen2VL-Flux by its published recipe. On several GPUs or machines, start it with "
        "`accelerate launch train.py ...`; docs/training.md tells more.",
        epilog="Ctrl-C, a crash and a kill lose nothing that a checkpoint holds: --resume goes on from the last one.",
        allow_abbrev=False,
    )
    what = parser.add_argument_group("what to train, on what, to where")
    what.add_argument(
        "--checkpoint",
        required=True,
        type=_checkpoint,
        metavar="FOLDER",
        help="what to begin from, in the published layout",
    )
    what.add_argument(
        "--data",
        required=True,
        type=_data,
        metavar="PATH",
        help="a folder of images; or .csv, .json or .jsonl with the columns image, prompt, reference and focus, of "
        "which only the first is needed",
    )
    what.add_argument("--output", required=True, type=folder, metavar="FOLDER", help="checkpoints, samples and the log")
    what.add_argument("--resume", action="store_true", help="go on from the newest checkpoint in --output")
    blocks = what.add_mutually_exclusive_group(required=True)
    blocks.add_argument(
        "--stage",
        type=whole(min(STAGES), max(STAGES)),
        metavar="N",
        help="the FLUX blocks of a published stage: 1 to 3",
    )
    blocks.add_argument(
        "--blocks", type=_blocks, metavar="LIST", help="other blocks, such as 0,3,19-21 (double ones first), or all"
    )
    what.add_argument(
        "--qwen_layers",
        type=whole(0, MOST_BLOCKS),
        default=1,
        metavar="N",
        help="how many of the encoder's last layers (default: %(default)s, as published)",
    )

    how = parser.add_argument_group("how (defaults: as published)")
    how.add_argument("--steps", type=whole(1, 10**9), metavar="N", help=f"updates (default: {recipe.steps})")
    how.add_argument(
        "--batch_size",
        type=whole(1, 4096),
        metavar="N",
        help=f"images at a time on a GPU (default: {recipe.batch_size})",
    )
    how.add_argument(
        "--accumulation",
        type=whole(1, 4096),
        metavar="N",
        help=f"such batches an update (default: {recipe.accumulation})",
    )
    how.add_argument("--lr", type=_number(0, 1), metavar="X", help=f"learning rate (default: {recipe.flux_lr:g})")
    how.add_argument(
        "--side", type=whole(16, 4096), default=1024, metavar="PIXELS", help="longest edge (default: %(default)s)"
    )
    how.add_argument(
        "--guidance", type=_number(0, 100), default=3.5, metavar="X", help="told to FLUX (default: %(default)s)"
    )
    how.add_argument(
        "--precision", choices=("bf16", "no"), help=f"no: everything in float32 (default: {recipe.precision})"
    )
    how.add_argument("--seed", type=whole(0, 2**32 - 1), metavar="N", help=f"default: {recipe.seed}")
    how.add_argument(
        "--save_every",
        type=whole(1, 10**9),
        metavar="N",
        help=f"steps between checkpoints (default: {recipe.save_every})",
    )
    how.add_argument(
        "--sample_every",
        type=whole(0, 10**9),
        metavar="N",
        help=f"steps between sheets of samples, 0 for none (default: {recipe.sample_every})",
    )
    return parser


def _checkpoint(text: str) -> Path:
    path = Path(os.path.expanduser(text)).absolute()
    if not text or not path.is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {text}")
    if not is_checkpoint(path):
        raise argparse.ArgumentTypeError(f"{text} is no checkpoint; it holds neither qwen2-vl nor flux")
    return path


def _data(text: str) -> Path:
    path = Path(os.path.expanduser(text)).absolute()
    if not text or not path.exists():
        raise argparse.ArgumentTypeError(f"there is no {text}; give a folder of images, or metadata")
    return path


def _blocks(text: str) -> tuple[int, ...] | str:
    if text == ALL:
        return ALL
    numbers: set[int] = set()
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        if not all(end.isdecimal() and len(end) < 5 for end in (first, last or first)):
            raise argparse.ArgumentTypeError(f"write blocks like 0,3,19-21, or all, not {text}")
        numbers.update(range(int(first), int(last or first) + 1))
    if not numbers:
        raise argparse.ArgumentTypeError(f"{text} names no block; a range goes from its smaller number up")
    return tuple(sorted(numbers))


def _number(low: float, high: float) -> Callable[[str], float]:
    """A parser of numbers above `low`, at most `high`."""

    def parse(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = float("nan")
        if not low < number <= high:
            raise argparse.ArgumentTypeError(f"give a number above {low:g} and at most {high:g}, not {text}")
        return number

    return parse
