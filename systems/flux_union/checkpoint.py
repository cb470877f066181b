"""FLUX ControlNets in diffusers layout (config.json beside the weights, sharded or not) as ComfyUI's CONTROL_NET."""

from __future__ import annotations

import os
from pathlib import Path

import comfy.controlnet
import comfy.utils
import folder_paths
from comfy.ldm.flux.controlnet import ControlNetFlux

from ..common.comfy.diffusers_flux import PATCH, SKELETON, diffusers_shapes, flux_params
from ..common.comfy.folders import component_folders, is_of_demo, walk
from ..common.comfy.state import load_state
from ..common.errors import CheckpointError, quoted
from ..common.weights.config import MANY, ConfigReader
from ..common.weights.files import read_json
from ..common.weights.shards import WeightFiles, check_layout

# The subfolder of a checkpoint in which its ControlNet lies.
PUBLISHED = "controlnet"
STEM = "diffusion_pytorch_model"
CLASS = "FluxControlNetModel"


def list_controlnets() -> list[str]:
    """Names of the folders with a FLUX ControlNet: `<checkpoint>/controlnet`, then those below models/controlnet, and
    that of `demo` last."""
    return sorted(_found(), key=is_of_demo)


def controlnet_folder(name: str) -> Path:
    """The folder of a listed ControlNet."""
    found = _found()
    if name not in found:
        place = folder_paths.get_folder_paths("controlnet")[0]
        raise CheckpointError(
            f"There is no ControlNet folder {quoted(name)}; put one with config.json into {place}, or into a "
            f"checkpoint's folder under the name {PUBLISHED}."
        )
    return found[name]


def load_controlnet(folder: Path) -> comfy.controlnet.ControlNet:
    """The ControlNet of a folder; raises CheckpointError for missing, unexpected or misshapen tensors before any of
    them is read."""
    files = WeightFiles(folder, STEM)
    check_layout(files, controlnet_shapes(folder / "config.json"), f"{folder.name}/config.json")
    return comfy.controlnet.load_controlnet_state_dict(load_state(files))


def controlnet_shapes(config_path: Path) -> dict[str, tuple[int, ...]]:
    """Every tensor that a ControlNet of this config.json has, by its diffusers name, with its shape."""
    raw = ConfigReader(config_path)
    kind = raw.values.get("_class_name")
    if kind != CLASS:
        raise CheckpointError(
            f"{raw.path} describes a {quoted(kind)}, not a {CLASS}; put a ControlNet for FLUX.1 there."
        )
    params = flux_params(raw)
    modes = 0 if raw.values.get("num_mode") is None else raw.count("num_mode", MANY)
    extra = raw.count("extra_condition_channels") if raw.values.get("extra_condition_channels") else 0
    hint_channels = params["in_channels"] + extra // PATCH**2
    network = ControlNetFlux(
        latent_input=True, num_union_modes=modes, control_latent_channels=hint_channels, **params, **SKELETON
    )
    own = {
        name: tuple(value.shape)
        for name, value in network.state_dict().items()
        if name.startswith(("controlnet_blocks.", "controlnet_single_blocks.", "controlnet_mode_embedder."))
    }
    return {**diffusers_shapes(network, params), **own}


def _found() -> dict[str, Path]:
    places = component_folders(PUBLISHED)
    for root in folder_paths.get_folder_paths("controlnet"):
        for folder, _, files in sorted(walk(Path(root))):
            if "config.json" in files:
                places.setdefault(folder.relative_to(root).as_posix(), folder)
    return {name: folder for name, folder in places.items() if _may_be_for_flux(folder / "config.json")}


def _may_be_for_flux(config: Path) -> bool:
    """False for the ControlNets of other models; what cannot be read is listed, so that loading it says why."""
    try:
        return read_json(config).get("_class_name") in (None, CLASS)
    except CheckpointError:
        return os.path.isfile(config)
