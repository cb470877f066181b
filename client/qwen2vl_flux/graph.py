"""Prompts in API form: the same graphs as the bundled workflows, as functions of what changes from run to run.

Every function takes the fields of `Settings` as keywords. Images come from the node `save`, maps from
`focus_save`, `focus_late_save`, `focus_2_save`, `depth_save`, `line_save` and `segment_save` where there are such.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from systems.common.layout import DEMO
from systems.common.sizes import PICTURE

from ..prompt import Link, Prompt, node

Hints = TypeVar("Hints", bound=Sequence)

# The side in pixels of the square images that the pack's own demo checkpoint makes.
DEMO_SIDE = 128
# The mask in the image's own alpha channel, where the mask editor paints it; transparent is inpainted.
ALPHA_MASK = ""


@dataclass(frozen=True)
class SamTarget:
    """What SAM 2 is pointed at, as in the node SAM 2 Segment, and the file it is loaded from."""

    model: str
    points: str = ""
    box: str = ""


@dataclass(frozen=True)
class Annotator:
    """What makes a map of an image, and how the ControlNet is told what it shows.

    loader, mapper: its two nodes; model_input: the mapper's input for what the loader gives; settings: the others.
    mode: of FLUX Union Control Mode. title: of its network; folder: of its weights below models/; example: a file name
    people know.
    """

    loader: str
    mapper: str
    model_input: str
    mode: str
    title: str
    folder: str
    example: str
    settings: dict[str, object] = field(default_factory=dict)


ANNOTATORS = {
    "depth": Annotator(
        loader="Qwen2VLFluxDepthAnythingV2Loader",
        mapper="Qwen2VLFluxDepthAnythingV2Map",
        model_input="depth_anything",
        mode="depth",
        title="Depth Anything V2",
        folder="depthanything",
        example="depth_anything_v2_vitl.pth",
    ),
    "line": Annotator(
        loader="Qwen2VLFluxAnyLineLoader",
        mapper="Qwen2VLFluxAnyLineMap",
        model_input="anyline",
        mode="canny",
        title="AnyLine",
        folder="anyline",
        example="MTEED.pth",
        settings={"resolution": 1280},
    ),
}
# The annotators whose maps the published ControlNet modes take, in their order.
PUBLISHED_ANNOTATORS = ("depth", "line")


@dataclass(frozen=True)
class Hint:
    """A map of the image that guides the ControlNet: the name in ANNOTATORS of what makes it, and that one's file. The
    published strengths are 0.2 for depth and 0.4 for the edge map."""

    annotator: str
    model: str
    strength: float


@dataclass(frozen=True)
class Settings:
    """The settings of every mode.

    weight_dtype is that of the transformer; the encoder stays as it is stored. reference_strength, 0 to 1, is how much
    the encoded image counts. dots and focus_on (an object of the encoded image) bring the focus nodes, a prompt brings
    T5. aspect_ratio None is 1:1 for variations and the image's own shape elsewhere. as_published does what the
    published script does where this pack's default is another: a focus needs a reference, a ControlNet starts from
    pure noise, and with a mask takes one hint only.
    """

    checkpoint: str = DEMO.name
    weight_dtype: str = "default"
    prompt: str = ""
    dots: str = ""
    focus_on: SamTarget | None = None
    focus_mode: str = "scale"
    token_budget: int = 0
    reference_strength: float = 1.0
    aspect_ratio: str | None = None
    size: int = DEMO_SIDE
    batch_size: int = 1
    steps: int = 28
    guidance: float = 3.5
    seed: int = 0
    prefix: str = "qwen2vl_flux"
    as_published: bool = False


def circle_dot(x: float, y: float, radius: float) -> str:
    """The published focus circle as dots of GridDot Focus: its centre and radius as fractions of the image's width,
    height and shorter side."""
    return json.dumps([{"x": x, "y": y, "r": radius, "w": 1}])


def variation(image: str, **given: object) -> Prompt:
    """Variations of an uploaded image."""
    settings = Settings(**given)
    size = node(
        "Qwen2VLFluxSize",
        aspect_ratio=settings.aspect_ratio or "1:1",
        batch_size=settings.batch_size,
        size=settings.size,
    )
    return {
        "image": node("LoadImage", image=image),
        **_tokens(settings, "image", focused=True),
        **_conditioning(settings),
        "size": size,
        **_sampling(settings, conditioning=["connect", 0], latent=["size", 0], strength=1.0),
    }


def focus_over_time(image: str, *, dots: str, late: str, change: float = 0.4, **settings: object) -> Prompt:
    """Variations that the focus `dots` begins and the focus `late` ends, from a fraction of the sampling on."""
    graph = variation(image, dots=dots, **settings)
    connect = graph["connect"]["inputs"]
    return graph | {
        "focus_late": node("GridDotFocus", tokens=["encode", 0], dots=late, mode=graph["focus"]["inputs"]["mode"]),
        "focus_late_save": node("MaskPreview", mask=["focus_late", 1]),
        "connect_late": node("Qwen2VLConnector", **{**connect, "tokens": ["focus_late", 0]}),
        "early": node("ConditioningSetTimestepRange", conditioning=["connect", 0], start=0.0, end=change),
        "late": node("ConditioningSetTimestepRange", conditioning=["connect_late", 0], start=change, end=1.0),
        "both": node("ConditioningCombine", conditioning_1=["early", 0], conditioning_2=["late", 0]),
        "guidance": node("FluxGuidance", **{**graph["guidance"]["inputs"], "conditioning": ["both", 0]}),
    }


def two_references(image: str, other: str, *, dots: str, other_dots: str, **settings: object) -> Prompt:
    """Variations of parts of two images: that under the focus `dots`, and that of the other under its own."""
    graph = variation(image, dots=dots, **settings)
    mode = graph["focus"]["inputs"]["mode"]
    return graph | {
        "image_2": node("LoadImage", image=other),
        "encode_2": node("Qwen2VLEncode", **{**graph["encode"]["inputs"], "image": ["image_2", 0]}),
        "focus_2": node("GridDotFocus", tokens=["encode_2", 0], dots=other_dots, mode=mode),
        "focus_2_save": node("MaskPreview", mask=["focus_2", 1]),
        "join": node("Qwen2VLJoinTokens", tokens_1=["focus", 0], tokens_2=["focus_2", 0]),
        "connect": node("Qwen2VLConnector", **{**graph["connect"]["inputs"], "tokens": ["join", 0]}),
    }


def image_to_image(image: str, *, reference: str = "", strength: float = 0.8, **settings: object) -> Prompt:
    """img2img: the image's own layout, the look of the reference, or of the image itself without one."""
    return _image_latent_graph(image, None, (), "", reference, strength, Settings(**settings))


def inpaint(
    image: str, mask: str | SamTarget, *, reference: str = "", strength: float = 0.8, **settings: object
) -> Prompt:
    """A part of an image inpainted: where an uploaded mask is white, an object is, or the image is transparent."""
    return _image_latent_graph(image, mask, (), "", reference, strength, Settings(**settings))


def controlnet(
    image: str,
    hints: Sequence[Hint],
    *,
    control_net: str,
    mask: str | SamTarget | None = None,
    reference: str = "",
    strength: float = 0.8,
    **settings: object,
) -> Prompt:
    """img2img, or inpaint with a mask, along the image's depth and edge map. `control_net` is a folder that
    Load Qwen2VL-Flux ControlNet lists, or a single file that ComfyUI's own loader lists."""
    return _image_latent_graph(image, mask, hints, control_net, reference, strength, Settings(**settings))


def active_hints(hints: Hints, *, masked: bool, as_published: bool) -> Hints:
    """The hints that count: all of them, but as published the first alone beside a mask."""
    return hints[:1] if masked and as_published else hints


def _image_latent_graph(
    image: str,
    mask: str | SamTarget | None,
    hints: Sequence[Hint],
    control_net: str,
    reference: str,
    strength: float,
    settings: Settings,
) -> Prompt:
    graph = {
        "image": node("LoadImage", image=image),
        **({"reference": node("LoadImage", image=reference)} if reference else {}),
        **_tokens(
            settings, "reference" if reference else "image", focused=bool(reference) or not settings.as_published
        ),
        **_conditioning(settings),
        **_mask(mask),
        "prepare": node(
            "Qwen2VLFluxPrepareImage",
            image=["image", 0],
            **({} if mask is None else {"mask": _mask_link(mask)}),
            aspect_ratio=settings.aspect_ratio or PICTURE,
            size=settings.size,
            soft_mask=False,
        ),
    }
    conditioning: Link = ["connect", 0]
    if hints:
        if reference:
            graph["encode_control"] = _encode(settings, "image")
            graph["connect"]["inputs"]["control_tokens"] = ["encode_control", 0]
        elif "focus" in graph:
            graph["connect"]["inputs"]["control_tokens"] = ["encode", 0]
        hints = active_hints(hints, masked=mask is not None, as_published=settings.as_published)
        graph |= _control(hints, control_net)
        conditioning = [f"{hints[-1].annotator}_control", 0]
    if hints and settings.as_published and mask is None:
        graph["batch"] = node(
            "EmptySD3LatentImage", width=["prepare", 2], height=["prepare", 3], batch_size=settings.batch_size
        )
        sampling = _sampling(settings, conditioning, ["batch", 0], strength)
        sampling["pure_noise"] = node("Qwen2VLFluxPureNoise", noise=["noise", 0], sigmas=["sigmas", 0])
        sampling["sample"]["inputs"]["noise"] = ["pure_noise", 0]
        return graph | sampling
    graph["latent"] = node("VAEEncode", pixels=["prepare", 0], vae=["vae", 0])
    if mask is not None:
        graph["masked"] = node("SetLatentNoiseMask", samples=["latent", 0], mask=["prepare", 1])
    latent = "latent" if mask is None else "masked"
    graph["batch"] = node("RepeatLatentBatch", samples=[latent, 0], amount=settings.batch_size)
    return graph | _sampling(settings, conditioning, ["batch", 0], strength)


def _tokens(settings: Settings, image: str, focused: bool) -> Prompt:
    """Encoder and tokens of the image that guides FLUX, and `connect`, which turns them into conditioning."""
    graph = {
        "qwen2vl": node("Qwen2VLLoader", checkpoint=settings.checkpoint, weight_dtype="default"),
        "encode": _encode(settings, image),
        "connect": node(
            "Qwen2VLConnector",
            qwen2vl=["qwen2vl", 0],
            tokens=["encode", 0],
            clip=["text", 0],
            prompt=settings.prompt,
            strength=settings.reference_strength,
        ),
    }
    if not focused or not (settings.dots.strip() or settings.focus_on):
        return graph
    graph["focus"] = node("GridDotFocus", tokens=["encode", 0], dots=settings.dots, mode=settings.focus_mode)
    graph["focus_save"] = node("MaskPreview", mask=["focus", 1])
    graph["connect"]["inputs"]["tokens"] = ["focus", 0]
    if settings.focus_on:
        graph |= _segment(settings.focus_on, image)
        graph["focus"]["inputs"]["mask"] = ["segment", 0]
    return graph


def _encode(settings: Settings, image: str) -> dict:
    return node("Qwen2VLEncode", qwen2vl=["qwen2vl", 0], image=[image, 0], token_budget=settings.token_budget)


def _conditioning(settings: Settings) -> Prompt:
    """The parts of the checkpoint that every mode needs beside the encoder."""
    return {
        "text": node("Qwen2VLFluxTextLoader", checkpoint=settings.checkpoint, t5=bool(settings.prompt.strip())),
        "model": node("Qwen2VLFluxModelLoader", checkpoint=settings.checkpoint, weight_dtype=settings.weight_dtype),
        "vae": node("Qwen2VLFluxVAELoader", checkpoint=settings.checkpoint),
    }


def _mask(mask: str | SamTarget | None) -> Prompt:
    if isinstance(mask, SamTarget):
        return _segment(mask, "image")
    return {"mask": node("LoadImageMask", image=mask, channel="red")} if mask else {}


def _mask_link(mask: str | SamTarget) -> Link:
    if isinstance(mask, SamTarget):
        return ["segment", 0]
    return ["image", 1] if mask == ALPHA_MASK else ["mask", 0]


def _segment(target: SamTarget, image: str) -> Prompt:
    return {
        "sam2": node("Qwen2VLFluxSAM2Loader", file=target.model),
        "segment": node(
            "Qwen2VLFluxSAM2Segment",
            sam2=["sam2", 0],
            image=[image, 0],
            points=target.points,
            box=target.box,
            candidates="best",
            coordinates="fraction",
        ),
        "segment_save": node("PreviewImage", images=["segment", 1]),
    }


def _control(hints: Sequence[Hint], control_net: str) -> Prompt:
    """The hints' maps and the chain of ControlNets they guide, in the order given."""
    single_file = control_net.lower().endswith((".safetensors", ".sft", ".pt", ".pth", ".bin", ".ckpt"))
    graph = {
        "control_net": node("ControlNetLoader", control_net_name=control_net)
        if single_file
        else node("Qwen2VLFluxControlNetLoader", controlnet=control_net)
    }
    positive, negative = ["connect", 0], ["connect", 0]
    for hint in hints:
        name = hint.annotator
        annotator = ANNOTATORS[name]
        model = {annotator.model_input: [f"{name}_model", 0]}
        graph[f"{name}_model"] = node(annotator.loader, file=hint.model)
        graph[name] = node(annotator.mapper, **model, image=["prepare", 0], **annotator.settings)
        graph[f"{name}_save"] = node("PreviewImage", images=[name, 0])
        graph[f"{name}_mode"] = node("FluxUnionControlMode", control_net=["control_net", 0], mode=annotator.mode)
        graph[f"{name}_control"] = node(
            "ControlNetApplyAdvanced",
            positive=positive,
            negative=negative,
            control_net=[f"{name}_mode", 0],
            image=[name, 0],
            strength=hint.strength,
            start_percent=0.0,
            end_percent=1.0,
            vae=["vae", 0],
        )
        positive, negative = [f"{name}_control", 0], [f"{name}_control", 1]
    return graph


def _sampling(settings: Settings, conditioning: Link, latent: Link, strength: float) -> Prompt:
    return {
        "guidance": node("FluxGuidance", conditioning=conditioning, guidance=settings.guidance),
        "guider": node("BasicGuider", model=["model", 0], conditioning=["guidance", 0]),
        "noise": node("RandomNoise", noise_seed=settings.seed),
        "sampler": node("KSamplerSelect", sampler_name="euler"),
        "sigmas": node("Qwen2VLFluxSigmas", steps=settings.steps, strength=strength, latent=latent),
        "sample": node(
            "SamplerCustomAdvanced",
            noise=["noise", 0],
            guider=["guider", 0],
            sampler=["sampler", 0],
            sigmas=["sigmas", 0],
            latent_image=latent,
        ),
        "decode": node("VAEDecode", samples=["sample", 0], vae=["vae", 0]),
        "save": node("SaveImage", images=["decode", 0], filename_prefix=settings.prefix),
    }
