"""Where checkpoints of Qwen2VL-Flux lie: models/qwen2vl_flux/<name>, CHECKPOINT_DIR, and the pack's own demo."""

from __future__ import annotations

from ..common.comfy.folders import CheckpointFolders
from .layout import COMPONENTS, FOLDER_NAME

CHECKPOINTS = CheckpointFolders(FOLDER_NAME, COMPONENTS, variable="CHECKPOINT_DIR")
