"""Where checkpoints of Qwen2VL-Flux lie: models/qwen2vl_flux/<name>, CHECKPOINT_DIR, and the pack's own demo."""

from __future__ import annotations

from ..common.comfy.folders import CheckpointFolders

CHECKPOINTS = CheckpointFolders("qwen2vl_flux", components=("qwen2-vl", "flux"), variable="CHECKPOINT_DIR")
