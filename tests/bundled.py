"""The bundled UI workflows, each with the graph in API form that it must be, and how two graphs are compared."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from client.qwen2vl_flux.graph import (
    ALPHA_MASK,
    Hint,
    Prompt,
    SamTarget,
    controlnet,
    focus_over_time,
    image_to_image,
    inpaint,
    node,
    two_references,
    variation,
)

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


OTHER_DOTS = '[{"x": 0.72, "y": 0.32, "r": 0.5, "w": 1}]'
SMALLER = [dots.replace('"r": 0.5', '"r": 0.3') for dots in (DOTS, OTHER_DOTS)]
HINTS = [Hint("depth", "demo/depth-anything-v2/scenes", 0.2), Hint("line", "demo/anyline/MTEED.safetensors", 0.4)]
UNION = "demo/controlnet"
MIDDLE = SamTarget("sam2_hiera_large.pt", points='[{"x": 0.5, "y": 0.5, "label": 1}]')
FOUR = {"batch_size": 4, "seed": 4}

GRAPHS = {
    "variation": variation(EXAMPLE, **FOUR),
    "variation_with_prompt": variation(EXAMPLE, prompt=WORDS, **FOUR),
    "variation_with_focus": variation(EXAMPLE, dots=DOTS, **FOUR),
    "focus_over_time": focus_over_time(EXAMPLE, dots=DOTS, late=OTHER_DOTS, **FOUR),
    "two_references": two_references(
        EXAMPLE, EXAMPLE, dots=SMALLER[0], other_dots=SMALLER[1], focus_mode="drop", **FOUR
    ),
    "variation_single_file": single_file(seed=4),
    "image_to_image": image_to_image(EXAMPLE, reference=EXAMPLE, **FOUR),
    "inpaint": inpaint(EXAMPLE, ALPHA_MASK, **FOUR),
    "sam2_focus": variation(EXAMPLE, focus_on=MIDDLE, **FOUR),
    "sam2_inpaint": inpaint(EXAMPLE, MIDDLE, **FOUR),
    "controlnet": controlnet(EXAMPLE, HINTS, control_net=UNION, reference=EXAMPLE, **FOUR),
    "controlnet_published": controlnet(EXAMPLE, HINTS, control_net=UNION, as_published=True, **FOUR),
    "controlnet_inpaint": controlnet(EXAMPLE, HINTS, control_net=UNION, mask=ALPHA_MASK, **FOUR),
}
# Those that run as they are, on the checkpoint that comes with the pack: no file of others, no painted mask.
ON_DEMO = [
    "variation",
    "variation_with_prompt",
    "variation_with_focus",
    "focus_over_time",
    "two_references",
    "image_to_image",
    "controlnet",
    "controlnet_published",
]

# What has to stand in for DualCLIPLoader where no text encoders of the full size (10 GB) are: it reads no others.
TEXT = node("Qwen2VLFluxTextLoader", checkpoint="demo", t5=False)
# Every graph as it is but for that one node of that one graph.
RUNNABLE = GRAPHS | {"variation_single_file": GRAPHS["variation_single_file"] | {"text": TEXT}}


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
