"""The bundled workflows of Qwen2VL-Flux."""

from __future__ import annotations

from ..prompt import Prompt, node
from ..workflow import EXAMPLE, REFERENCE, Thumbnail, Workflow
from .graph import (
    ALPHA_MASK,
    Hint,
    SamTarget,
    circle_dot,
    controlnet,
    focus_over_time,
    image_to_image,
    inpaint,
    two_references,
    variation,
)

# The seed and the batch of a first run.
FOUR = {"batch_size": 4, "seed": 4}
WORDS = "flat shapes on a blue ground"
# The circles that keep one object of the reference, with the wide radius of a focus that fades.
CIRCLE, SQUARE = (0.28, 0.68, 0.5), (0.72, 0.32, 0.5)
# Those that keep it, or the plus of square_and_plus.png, with the narrow one of a focus that drops tokens.
SMALL_CIRCLE, SMALL_PLUS = (0.28, 0.68, 0.3), (0.72, 0.32, 0.3)
UNION = "demo/controlnet"
HINTS = (Hint("depth", "demo/depth-anything-v2/scenes", 0.2), Hint("line", "demo/anyline/MTEED.safetensors", 0.4))
MAPS = {"depth map": "depth", "edge map": "line"}
MIDDLE = SamTarget("sam2_hiera_large.pt", points='[{"x": 0.5, "y": 0.5, "label": 1}]')
SINGLE_FILES = {
    "unet_name": "qwen2vl_flux.safetensors",
    "clip_name1": "clip_l.safetensors",
    "clip_name2": "t5xxl_fp16.safetensors",
    "vae_name": "ae.safetensors",
}


def single_file() -> Prompt:
    """Variations with native loaders for everything but the encoder."""
    clips = {name: SINGLE_FILES[name] for name in ("clip_name1", "clip_name2")}
    return variation(EXAMPLE, **FOUR) | {
        "text": node("DualCLIPLoader", **clips, type="flux", device="default"),
        "unet": node("UNETLoader", unet_name=SINGLE_FILES["unet_name"], weight_dtype="default"),
        "model": node("Qwen2VLFluxPatchModel", model=["unet", 0]),
        "vae": node("VAELoader", vae_name=SINGLE_FILES["vae_name"]),
    }


WORKFLOWS = {
    "variation": Workflow(variation(EXAMPLE, **FOUR), Thumbnail({"reference": "image"})),
    "variation_with_prompt": Workflow(
        variation(EXAMPLE, prompt=WORDS, **FOUR), Thumbnail({f'reference and the words\n"{WORDS}"': "image"})
    ),
    "variation_with_focus": Workflow(
        variation(EXAMPLE, dots=circle_dot(*CIRCLE), **FOUR), Thumbnail({"reference, focused": "focus"})
    ),
    "focus_over_time": Workflow(
        focus_over_time(EXAMPLE, dots=circle_dot(*CIRCLE), late=circle_dot(*SQUARE), **FOUR),
        Thumbnail({"focus at first": "focus", "focus later": "focus_late"}),
    ),
    "two_references": Workflow(
        two_references(
            EXAMPLE,
            EXAMPLE,
            dots=circle_dot(*SMALL_CIRCLE),
            other_dots=circle_dot(*SMALL_PLUS),
            focus_mode="drop",
            **FOUR,
        ),
        Thumbnail(
            {"reference, focused": "focus", "another, focused": "focus_2"},
            images={"image": REFERENCE, "image_2": "square_and_plus.png"},
        ),
    ),
    "variation_single_file": Workflow(
        single_file(),
        Thumbnail({"reference": "image"}, graph=variation(EXAMPLE, **FOUR), band="your own FLUX files"),
        needs="other weights",
        # ComfyUI's own loader takes any file for text encoders of the full size, 10 GB
        stand_ins={"text": node("Qwen2VLFluxTextLoader", checkpoint="demo", t5=False)},
    ),
    "image_to_image": Workflow(
        image_to_image(EXAMPLE, reference=EXAMPLE, **FOUR),
        Thumbnail(
            {"image": "image", "reference": "reference"},
            images={"image": REFERENCE, "reference": "circle_and_square.png"},
        ),
    ),
    "inpaint": Workflow(
        inpaint(EXAMPLE, ALPHA_MASK, **FOUR),
        Thumbnail({"mask": "image"}, brush=(0.28, 0.68, 0.25)),
        needs="a painted mask",
    ),
    "sam2_focus": Workflow(
        variation(EXAMPLE, focus_on=MIDDLE, **FOUR),
        Thumbnail({"object": "segment"}, images={"image": "triangle_and_plus.png"}, point=(0.73, 0.72)),
        needs="other weights",
    ),
    "sam2_inpaint": Workflow(
        inpaint(EXAMPLE, MIDDLE, **FOUR),
        Thumbnail({"object": "segment"}, images={"image": "circle_and_square.png"}, point=(0.73, 0.72)),
        needs="other weights",
    ),
    "controlnet": Workflow(
        controlnet(EXAMPLE, HINTS, control_net=UNION, reference=EXAMPLE, **FOUR),
        Thumbnail(
            {"reference": "reference", "image": "image", **MAPS},
            images={"reference": REFERENCE, "image": "circle_and_square.png"},
        ),
    ),
    "controlnet_published": Workflow(
        controlnet(EXAMPLE, HINTS, control_net=UNION, as_published=True, **FOUR),
        Thumbnail({"image": "image", **MAPS}, images={"image": "plus_and_circle.png"}),
    ),
    "controlnet_inpaint": Workflow(
        controlnet(EXAMPLE, HINTS, control_net=UNION, mask=ALPHA_MASK, **FOUR),
        Thumbnail({"mask": "image", **MAPS}, images={"image": "square_and_plus.png"}, brush=(0.73, 0.3, 0.25)),
        needs="a painted mask",
    ),
}
