"""A small union ControlNet of seeded random weights for the demo checkpoint's FLUX, in the published layout."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from goldens import seeded_weight
from safetensors.torch import save_file

from systems.common.comfy.folders import DEMO
from systems.flux_union.checkpoint import STEM, controlnet_shapes


def write_union(folder: Path, modes: int | None = 10, shards: int = 1, **entries: object) -> Path:
    """config.json and weights of one double and one single block; modes None is no union, `entries` change the
    config."""
    folder.mkdir(parents=True, exist_ok=True)
    config = json.loads((DEMO / "flux" / "transformer" / "config.json").read_text())
    config |= {"_class_name": "FluxControlNetModel", "num_layers": 1, "num_single_layers": 1, "num_mode": modes}
    (folder / "config.json").write_text(json.dumps(config | entries))
    shapes = controlnet_shapes(folder / "config.json")
    state = {name: seeded_weight(name, list(shape), "union").to(torch.bfloat16) for name, shape in shapes.items()}
    if shards == 1:
        save_file(state, folder / f"{STEM}.safetensors")
        return folder
    names = [f"{STEM}-{number:05}-of-{shards:05}.safetensors" for number in range(1, shards + 1)]
    held = {tensor: names[number % shards] for number, tensor in enumerate(state)}
    for name in names:
        save_file({tensor: value for tensor, value in state.items() if held[tensor] == name}, folder / name)
    (folder / f"{STEM}.safetensors.index.json").write_text(json.dumps({"weight_map": held}))
    return folder
