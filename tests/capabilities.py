"""What ComfyUIs can do since some version that the pack does not ask for."""

from __future__ import annotations

from comfy.controlnet import ControlBase

# Whether this ComfyUI can clone models and controls for a second device.
SEVERAL_DEVICES = hasattr(ControlBase, "deepclone_multigpu")
