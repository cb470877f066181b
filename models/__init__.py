"""Networks on ComfyUI's operations, each with a wrapper that owns its dtype, devices and ModelPatcher."""
