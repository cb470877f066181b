"""The pack's own graph types and its place in the node menu."""

from comfy_api.latest import io

Qwen2VLModel = io.Custom("QWEN2VL")
Qwen2VLTokens = io.Custom("QWEN2VL_TOKENS")

CATEGORY = "Qwen2VL-Flux"
