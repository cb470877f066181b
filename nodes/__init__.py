"""The pack's nodes: each reads its inputs, calls one thing and returns its outputs."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from ..systems.annotators import files as annotator_files
from ..systems.qwen2vl_flux.folders import CHECKPOINTS
from . import loaded_pictures
from .annotators import (
    Qwen2VLFluxAnyLineLoader,
    Qwen2VLFluxAnyLineMap,
    Qwen2VLFluxDepthAnythingV2Loader,
    Qwen2VLFluxDepthAnythingV2Map,
    Qwen2VLFluxSAM2Loader,
    Qwen2VLFluxSAM2Segment,
)
from .connector import Qwen2VLConnector
from .controlnet import FluxUnionControlMode, Qwen2VLFluxControlNetLoader
from .griddot import GridDotFocus
from .join import Qwen2VLJoinTokens
from .loaders import (
    Qwen2VLFluxModelLoader,
    Qwen2VLFluxPatchModel,
    Qwen2VLFluxTextLoader,
    Qwen2VLFluxVAELoader,
    Qwen2VLLoader,
)
from .prepare import Qwen2VLFluxPrepareImage
from .qwen2vl_encode import Qwen2VLEncode
from .sampling import Qwen2VLFluxPureNoise, Qwen2VLFluxSigmas, Qwen2VLFluxSize


class Qwen2VLFluxExtension(ComfyExtension):
    async def on_load(self) -> None:
        CHECKPOINTS.register()
        annotator_files.register()
        loaded_pictures.register()

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [
            Qwen2VLLoader,
            Qwen2VLFluxModelLoader,
            Qwen2VLFluxTextLoader,
            Qwen2VLFluxVAELoader,
            Qwen2VLFluxPatchModel,
            Qwen2VLEncode,
            GridDotFocus,
            Qwen2VLConnector,
            Qwen2VLFluxSize,
            Qwen2VLFluxSigmas,
            Qwen2VLFluxControlNetLoader,
            FluxUnionControlMode,
            Qwen2VLFluxPrepareImage,
            Qwen2VLFluxPureNoise,
            Qwen2VLFluxDepthAnythingV2Loader,
            Qwen2VLFluxDepthAnythingV2Map,
            Qwen2VLFluxAnyLineLoader,
            Qwen2VLFluxAnyLineMap,
            Qwen2VLFluxSAM2Loader,
            Qwen2VLFluxSAM2Segment,
            Qwen2VLJoinTokens,
        ]


async def comfy_entrypoint() -> Qwen2VLFluxExtension:
    return Qwen2VLFluxExtension()
