"""The pack as the module `qwen2vl_flux_pack` in a process that has ComfyUI's own imports behind it."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent
COMFYUI = Path(os.environ.get("COMFYUI_PATH") or ROOT / ".dev" / "ComfyUI").resolve()


def start_comfyui() -> None:
    """Import what main.py has imported when it comes to the custom nodes; on the CPU unless there is a CUDA device.

    utils comes first, as there: nodes puts the folder comfy, which has a utils of its own, at the head of the path.
    """
    sys.path[:] = [str(COMFYUI), *(entry for entry in sys.path if Path(entry or ".").resolve() != ROOT)]
    sys.argv[1:] = []
    import torch
    from comfy.cli_args import args

    args.cpu = not torch.cuda.is_available()
    import utils.extra_config  # noqa: F401

    # isort: split
    import execution  # noqa: F401
    import nodes  # noqa: F401
    import server  # noqa: F401


def name_pack() -> None:
    """Let modules of the pack that need no ComfyUI be imported as qwen2vl_flux_pack.*, without its __init__.py."""
    pack = sys.modules.setdefault("qwen2vl_flux_pack", ModuleType("qwen2vl_flux_pack"))
    pack.__path__ = [str(ROOT)]


def import_pack() -> ModuleType:
    """Import the pack as ComfyUI does."""
    spec = importlib.util.spec_from_file_location(
        "qwen2vl_flux_pack", ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
