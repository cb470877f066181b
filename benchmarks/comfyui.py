"""A process that has ComfyUI's own imports behind it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COMFYUI = Path(os.environ.get("COMFYUI_PATH") or ROOT / ".dev" / "ComfyUI").resolve()


def start_comfyui() -> None:
    """Import what main.py has imported when it comes to the custom nodes; on the CPU unless there is a CUDA device.

    utils comes first, as there: nodes puts the folder comfy, which has a utils of its own, at the head of the path.
    """
    sys.path.insert(0, str(COMFYUI))
    sys.argv[1:] = []
    import torch
    from comfy.cli_args import args

    args.cpu = not torch.cuda.is_available()
    import utils.extra_config  # noqa: F401

    # isort: split
    import execution  # noqa: F401
    import nodes  # noqa: F401
    import server  # noqa: F401
