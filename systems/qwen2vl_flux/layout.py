"""The published checkpoint folder. Standard library only: the command line reads it too."""

from __future__ import annotations

from pathlib import Path

from ..common.layout import holds_component

# The folder of checkpoints below ComfyUI's models/.
FOLDER_NAME = "qwen2vl_flux"
# The subfolders of a checkpoint, either of which makes a folder one.
COMPONENTS = ("qwen2-vl", "flux")


def is_checkpoint(folder: str | Path) -> bool:
    """Whether a folder holds a checkpoint, or a part of one."""
    return holds_component(folder, COMPONENTS)
