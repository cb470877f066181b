#!/usr/bin/env python3
"""Train Qwen2VL-Flux; --help lists the flags, training/README.md explains them.

  python3 dev.py train --checkpoint demo --data pictures --output runs/first --blocks all --side 128 --steps 100
  accelerate launch train.py --checkpoint models/Qwen2vl-Flux --data metadata.jsonl --output runs/stage1 --stage 1

Needs the packages of the extra `training` in pyproject.toml; never imports ComfyUI.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from types import ModuleType
from typing import NoReturn

# the pack's own __init__.py would import ComfyUI
pack = sys.modules.setdefault("qwen2vl_flux_pack", ModuleType("qwen2vl_flux_pack"))
pack.__path__ = [str(Path(__file__).resolve().parent)]

from qwen2vl_flux_pack.errors import CheckpointError, InputError  # noqa: E402
from qwen2vl_flux_pack.training.options import training_options  # noqa: E402


def main() -> None:
    options = training_options(sys.argv[1:])
    logging.basicConfig(format="%(message)s", stream=sys.stdout)
    logging.getLogger(pack.__name__).setLevel(logging.INFO)
    try:
        from qwen2vl_flux_pack.training.run import run

        run(options)
    except ModuleNotFoundError as error:
        fail(
            f"Training needs the package {error.name}; run it with `python3 dev.py train`, or install the packages "
            "that pyproject.toml lists under training."
        )
    except (InputError, CheckpointError) as error:
        fail(error)
    except OSError as error:
        fail(f"{error.filename or 'The system says'}: {error.strerror}; --resume goes on from the newest checkpoint.")
    except KeyboardInterrupt:
        fail(f"Stopped; --resume goes on from the newest checkpoint in {options.output}.", 130)


def fail(sentence: object, status: int = 1) -> NoReturn:
    print(f"train.py: {sentence}", file=sys.stderr)
    sys.exit(status)


if __name__ == "__main__":
    main()
