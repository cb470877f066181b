"""The pack's nodes: each reads its inputs, calls one thing and returns its outputs."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from ..systems.qwen2vl_flux.folders import CHECKPOINTS
from . import (
    annotators,
    connector,
    controlnet,
    griddot,
    join,
    loaded_pictures,
    loaders,
    prepare,
    qwen2vl_encode,
    sampling,
)

MODULES = (loaders, qwen2vl_encode, griddot, join, connector, prepare, sampling, controlnet, annotators)


class Qwen2VLFluxExtension(ComfyExtension):
    async def on_load(self) -> None:
        for files in (CHECKPOINTS, *annotators.FILES):
            files.register()
        loaded_pictures.register()

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [node for module in MODULES for node in module.NODES]


async def comfy_entrypoint() -> Qwen2VLFluxExtension:
    return Qwen2VLFluxExtension()
