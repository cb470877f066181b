"""ComfyUI-Qwen2VL-Flux: images that guide generation, plugged into ComfyUI's native samplers."""

from .nodes import comfy_entrypoint

WEB_DIRECTORY = "./web"

__all__ = ["WEB_DIRECTORY", "comfy_entrypoint"]
