"""The bundled UI workflows, each with the graph in API form that it must be, and how two graphs are compared."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from qwen2vl_flux_pack.automation.graphs import Prompt, variation

FOLDER = Path(__file__).resolve().parent.parent / "workflows"
EXAMPLE = "example.png"  # in the input folder of every new ComfyUI
WORDS = "flat shapes on a blue ground"
DOTS = '[{"x": 0.28, "y": 0.68, "r": 0.5, "w": 1}]'
SINGLE_FILES = {
    "unet_name": "qwen2vl_flux.safetensors",
    "clip_name1": "clip_l.safetensors",
    "clip_name2": "t5xxl_fp16.safetensors",
    "vae_name": "ae.safetensors",
}


def node(class_type: str, **inputs: object) -> dict:
    return {"class_type": class_type, "inputs": inputs}


def single_file(seed: int) -> Prompt:
    """Variations with native loaders for everything but the encoder."""
    names = SINGLE_FILES
    graph = variation(EXAMPLE, batch_size=4, seed=seed)
    text = {"clip_name1": names["clip_name1"], "clip_name2": names["clip_name2"], "type": "flux", "device": "default"}
    return graph | {
        "text": node("DualCLIPLoader", **text),
        "unet": node("UNETLoader", unet_name=names["unet_name"], weight_dtype="default"),
        "model": node("Qwen2VLFluxPatchModel", model=["unet", 0]),
        "vae": node("VAELoader", vae_name=names["vae_name"]),
    }


GRAPHS = {
    "variation": variation(EXAMPLE, batch_size=4, seed=4),
    "variation_with_prompt": variation(EXAMPLE, batch_size=4, seed=4, prompt=WORDS),
    "variation_with_focus": variation(EXAMPLE, batch_size=4, seed=4, dots=DOTS),
    "variation_single_file": single_file(seed=4),
}
ON_DEMO = [name for name in GRAPHS if name != "variation_single_file"]
"""Those that run as they are, on the checkpoint that comes with the pack."""


def canonical(prompt: Prompt) -> tuple:
    """What a graph computes, free of node ids and titles: each end of the graph with everything that leads to it."""

    def written(node_id: str) -> tuple:
        inputs = prompt[node_id]["inputs"].items()
        return prompt[node_id]["class_type"], tuple(sorted((name, value(item)) for name, item in inputs))

    def value(item: object) -> tuple:
        if isinstance(item, list):
            return "link", item[1], *written(item[0])
        return "value", item

    used = {item[0] for entry in prompt.values() for item in entry["inputs"].values() if isinstance(item, list)}
    ends = sorted(written(node_id) for node_id in prompt if node_id not in used)
    return ends, Counter(entry["class_type"] for entry in prompt.values())


def only(prompt: Prompt, class_type: str) -> str:
    """The id of the one node of a type."""
    (found,) = (node_id for node_id, entry in prompt.items() if entry["class_type"] == class_type)
    return found
