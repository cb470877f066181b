#!/usr/bin/env python3
"""Train Qwen2VL-Flux; --help lists the flags, docs/training.md explains them.

  python3 dev.py train --checkpoint demo --data pictures --output runs/first --blocks all --side 128 --steps 100
  accelerate launch train.py --checkpoint models/Qwen2vl-Flux --data metadata.jsonl --output runs/stage1 --stage 1

Needs the packages of the extra `training` in pyproject.toml; never imports ComfyUI.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from systems.common.errors import CheckpointError, InputError
from training.qwen2vl_flux.options import training_options


def main() -> None:
    options = training_options(sys.argv[1:])
    with one_sentence("train.py", f"--resume goes on from the newest checkpoint in {options.output}"):
        from training.qwen2vl_flux.run import run

        run(options)


def demo() -> None:
    """`dev.py train-demo`."""
    with one_sentence("train-demo", "the same command goes on from there"):
        from lab.demo.make import main as make

        make(sys.argv[1:])


@contextmanager
def one_sentence(program: str, remedy: str) -> Iterator[None]:
    """Show how the training goes, and end the program with one sentence when it cannot go on."""
    logging.basicConfig(format="%(message)s", stream=sys.stdout)
    for package in ("training", "lab"):
        logging.getLogger(package).setLevel(logging.INFO)

    def fail(sentence: object, status: int = 1) -> NoReturn:
        print(f"{program}: {sentence}", file=sys.stderr)
        sys.exit(status)

    try:
        yield
    except ModuleNotFoundError as error:
        fail(
            f"Training needs the package {error.name}; run it with `python3 dev.py train`, or install the packages "
            "that pyproject.toml lists under training."
        )
    except (InputError, CheckpointError) as error:
        fail(error)
    except OSError as error:
        fail(f"{error.filename or 'The system says'}: {error.strerror or error}; {remedy}.")
    except KeyboardInterrupt:
        fail(f"Stopped; {remedy}.", 130)


if __name__ == "__main__":
    main()
