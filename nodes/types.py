"""The pack's own graph types and its place in the node menu."""

from comfy_api.latest import io

Qwen2VLModel = io.Custom("QWEN2VL")
Qwen2VLTokens = io.Custom("QWEN2VL_TOKENS")
DepthAnythingV2Model = io.Custom("DEPTH_ANYTHING_V2")
AnyLineModel = io.Custom("ANYLINE")
Sam2Model = io.Custom("SAM2")

CATEGORY = "Qwen2VL-Flux"
