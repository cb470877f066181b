"""FLUX ControlNets."""

from __future__ import annotations

from comfy_api.latest import io

from ..systems.flux_union.checkpoint import controlnet_folder, list_controlnets, load_controlnet
from ..systems.flux_union.control import MODES, prepare_control_net
from .checked import CheckedNode
from .types import CATEGORY

CONTROLNET = f"{CATEGORY}/controlnet"


class Qwen2VLFluxControlNetLoader(CheckedNode):
    """A FLUX ControlNet from a folder in diffusers layout, which no native loader reads."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Qwen2VLFluxControlNetLoader",
            display_name="Load Qwen2VL-Flux ControlNet",
            category=f"{CATEGORY}/loaders",
            description="Loads a FLUX ControlNet from a folder in diffusers layout, shards and all, as a native "
            "CONTROL_NET. A single file loads with ComfyUI's own Load ControlNet Model.",
            search_aliases=["union controlnet", "diffusers controlnet", "flux controlnet"],
            inputs=[
                io.Combo.Input(
                    "controlnet",
                    options=list_controlnets(),
                    tooltip="Folder with config.json in models/controlnet, or the folder controlnet of a checkpoint.",
                )
            ],
            outputs=[io.ControlNet.Output(tooltip="ControlNet for FLUX Union Control Mode or an Apply ControlNet.")],
        )

    @classmethod
    def execute(cls, controlnet: str) -> io.NodeOutput:
        return io.NodeOutput(load_controlnet(controlnet_folder(controlnet)))


class FluxUnionControlMode(CheckedNode):
    """What a union ControlNet's hint shows, and the prompt and focus for any FLUX ControlNet."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FluxUnionControlMode",
            display_name="FLUX Union Control Mode",
            category=CONTROLNET,
            description="Tells a FLUX.1 union ControlNet what its hint is, and passes the text prompt and the focus of "
            "a Qwen2VL conditioning on to any FLUX.1 ControlNet. ComfyUI's own Set Union ControlNet Type numbers the "
            "modes of SDXL and is wrong for FLUX.",
            search_aliases=["union controlnet", "control type", "instantx", "set union controlnet type"],
            inputs=[
                io.ControlNet.Input("control_net", tooltip="A FLUX.1 ControlNet from any loader."),
                io.Combo.Input(
                    "mode",
                    options=list(MODES),
                    tooltip="What the hint shows. Edge maps of AnyLine and Canny are canny, as published; gray is an "
                    "image without colours, lq one of low quality. A ControlNet without modes takes no notice of it.",
                ),
            ],
            outputs=[io.ControlNet.Output(tooltip="The ControlNet in that mode, for Apply ControlNet with a VAE.")],
        )

    @classmethod
    def execute(cls, control_net, mode: str) -> io.NodeOutput:
        return io.NodeOutput(prepare_control_net(control_net, mode))


NODES = [Qwen2VLFluxControlNetLoader, FluxUnionControlMode]
