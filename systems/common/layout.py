"""Checkpoint folders of components, and the small one that comes with the pack. Standard library only."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

# The pack's own small checkpoint, which is listed by this folder's name.
DEMO = Path(__file__).parents[2] / "demo"


def holds_component(folder: str | Path, components: Iterable[str]) -> bool:
    """Whether a folder has one of these subfolders, which makes it a checkpoint or a part of one."""
    return any(os.path.isdir(os.path.join(folder, component)) for component in components)
