"""Loaders, one for each component of a checkpoint, so that a graph loads only what it uses."""

from __future__ import annotations

from comfy_api.latest import io

from ..systems.common.comfy.diffusers_flux import STORAGE
from ..systems.qwen2vl_flux import encoder as qwen2vl
from ..systems.qwen2vl_flux import flux
from ..systems.qwen2vl_flux.folders import CHECKPOINTS
from ..systems.qwen2vl_flux.patch import patch_model
from .checked import CheckedNode
from .types import CATEGORY, Qwen2VLModel

LOADERS = f"{CATEGORY}/loaders"


def _checkpoint_input() -> io.Combo.Input:
    return io.Combo.Input(
        "checkpoint",
        options=CHECKPOINTS.names(),
        tooltip="Checkpoint folder in models/qwen2vl_flux, as published (subfolders qwen2-vl and flux). "
        "demo comes with the pack: tiny, knows only drawn shapes, needs no download.",
    )


class Qwen2VLLoader(CheckedNode):
    """The image encoder with its connector, the start of every graph."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Qwen2VLLoader",
            display_name="Load Qwen2VL Encoder",
            category=LOADERS,
            description="Loads the image encoder of a Qwen2VL-Flux checkpoint with its connector to FLUX.",
            search_aliases=["qwen2-vl", "qwen2vl-flux", "image variation", "vision encoder"],
            inputs=[
                _checkpoint_input(),
                io.Combo.Input(
                    "weight_dtype",
                    options=list(qwen2vl.STORAGE),
                    tooltip="How weights are kept in memory: default is bfloat16 (14.5 GB at full size); "
                    "fp8 takes half of that and is less exact.",
                ),
            ],
            outputs=[Qwen2VLModel.Output("qwen2vl", tooltip="Encoder for Qwen2VL Encode and Qwen2VL Connector.")],
        )

    @classmethod
    def execute(cls, checkpoint: str, weight_dtype: str) -> io.NodeOutput:
        return io.NodeOutput(qwen2vl.load_qwen2vl(CHECKPOINTS.folder(checkpoint), weight_dtype))


class Qwen2VLFluxModelLoader(CheckedNode):
    """The FLUX transformer of a checkpoint as a native MODEL, already patched for prompts and focus."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Qwen2VLFluxModelLoader",
            display_name="Load Qwen2VL-Flux Model",
            category=LOADERS,
            description="Loads the FLUX transformer of a Qwen2VL-Flux checkpoint, shards and all, as a native MODEL.",
            search_aliases=["flux loader", "sharded transformer", "diffusers loader"],
            inputs=[
                _checkpoint_input(),
                io.Combo.Input(
                    "weight_dtype",
                    options=list(STORAGE),
                    tooltip="How weights are kept in memory, as in Load Diffusion Model: default keeps them as stored "
                    "(24 GB in bfloat16); fp8_e4m3fn takes half the memory of bfloat16, as the published turbo mode "
                    "does.",
                ),
            ],
            outputs=[
                io.Model.Output(tooltip="FLUX for any native sampler, already patched (see Qwen2VL-Flux Patch Model).")
            ],
        )

    @classmethod
    def execute(cls, checkpoint: str, weight_dtype: str) -> io.NodeOutput:
        return io.NodeOutput(patch_model(flux.load_transformer(CHECKPOINTS.folder(checkpoint), weight_dtype)))


class Qwen2VLFluxTextLoader(CheckedNode):
    """CLIP-L of a checkpoint, and T5 when a prompt needs it, as a native CLIP."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Qwen2VLFluxTextLoader",
            display_name="Load Qwen2VL-Flux Text Encoders",
            category=LOADERS,
            description="Loads the text encoders of a Qwen2VL-Flux checkpoint as a native CLIP: CLIP-L, and T5 when "
            "asked for.",
            search_aliases=["clip-l", "t5-xxl", "text encoder"],
            inputs=[
                _checkpoint_input(),
                io.Boolean.Input(
                    "t5",
                    default=False,
                    label_on="CLIP-L and T5",
                    label_off="CLIP-L only",
                    tooltip="T5-XXL (9.5 GB) is needed for a text prompt only; variations of an image do without it.",
                ),
            ],
            outputs=[io.Clip.Output(tooltip="Text encoders for Qwen2VL Connector.")],
        )

    @classmethod
    def execute(cls, checkpoint: str, t5: bool) -> io.NodeOutput:
        return io.NodeOutput(flux.load_text_encoders(CHECKPOINTS.folder(checkpoint), t5))


class Qwen2VLFluxVAELoader(CheckedNode):
    """The autoencoder of a checkpoint as a native VAE."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Qwen2VLFluxVAELoader",
            display_name="Load Qwen2VL-Flux VAE",
            category=LOADERS,
            description="Loads the autoencoder of a Qwen2VL-Flux checkpoint as a native VAE.",
            search_aliases=["flux vae", "ae", "autoencoder"],
            inputs=[_checkpoint_input()],
            outputs=[io.Vae.Output(tooltip="Autoencoder for VAE Decode and VAE Encode.")],
        )

    @classmethod
    def execute(cls, checkpoint: str) -> io.NodeOutput:
        return io.NodeOutput(flux.load_vae(CHECKPOINTS.folder(checkpoint)))


class Qwen2VLFluxPatchModel(CheckedNode):
    """The patch for a FLUX.1 from any other loader, without which a prompt, a focus in mode attention or a strength
    below 1 stops the run."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Qwen2VLFluxPatchModel",
            display_name="Qwen2VL-Flux Patch Model",
            category=LOADERS,
            description="Prepares a FLUX.1 loaded by a native loader for text prompts, for mode attention of "
            "GridDot Focus and for a strength below 1. Changes no weight; models from Load Qwen2VL-Flux Model need no "
            "patch.",
            search_aliases=["single file flux", "unet loader"],
            inputs=[io.Model.Input("model", tooltip="A FLUX.1-dev with Qwen2VL-Flux weights, from any loader.")],
            outputs=[
                io.Model.Output(
                    tooltip="The same model, ready for a text prompt, mode attention and a strength below 1."
                )
            ],
        )

    @classmethod
    def execute(cls, model) -> io.NodeOutput:
        return io.NodeOutput(patch_model(model))


NODES = [Qwen2VLLoader, Qwen2VLFluxModelLoader, Qwen2VLFluxTextLoader, Qwen2VLFluxVAELoader, Qwen2VLFluxPatchModel]
