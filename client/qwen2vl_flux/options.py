"""The command line of Qwen2VL-Flux. Standard library only: it is read before an interpreter with more is looked for."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from systems.common.errors import InputError
from systems.common.layout import DEMO
from systems.common.sizes import PUBLISHED_SIDE, PUBLISHED_SIZES
from systems.qwen2vl_flux.dots import EXAMPLE, MAX_RADIUS, parse_dots
from systems.qwen2vl_flux.layout import is_checkpoint

from ..arguments import Parser, checkpoint, file, number, utf8_text, whole
from ..options import Options, add_where
from .graph import ANNOTATORS, DEMO_SIDE, circle_dot
from .request import IMG2IMG_MODES, MAX_BATCH, MAX_SEED, MODES, Point, Request


def generate_options(arguments: Sequence[str]) -> Options:
    """Parse and check the arguments; exits with 2 and one sentence when one is wrong. Paths come back absolute."""
    parser = _parser()
    given = {name: value for name, value in vars(parser.parse_args(arguments)).items() if value is not None}
    try:
        named, checkpoint_folder = _checkpoint(given)
        values = {**_focus(named), "mask_points": tuple(given.get("mask_points", ()))}
        request = Request(**{field.name: values[field.name] for field in fields(Request) if field.name in values})
        remarks = _remarks(given, request)
    except ValueError as error:
        parser.error(str(error))
    return Options(
        request=request,
        output_dir=given["output_dir"],
        server=given.get("server", ""),
        checkpoint_folder=checkpoint_folder,
        device=given.get("device"),
        save_prompt=given.get("save_prompt"),
        packages=("aiohttp", *(["PIL"] if request.mask_image else [])),
        remarks=tuple(remarks),
    )


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="generate.py",
        description="Make images with Qwen2VL-Flux: through the ComfyUI that is running, or one started for it.",
        epilog="Ctrl-C stops the image that is being made and keeps those that are done.",
        allow_abbrev=False,
    )
    fraction, strength = number(0, 1), number(0, 10)

    what = parser.add_argument_group("what to make")
    what.add_argument("--mode", required=True, choices=MODES)
    what.add_argument("--input_image", required=True, type=file, metavar="FILE", help="the image to start from")
    what.add_argument("--prompt", type=utf8_text, metavar="TEXT", help="words beside the image")
    what.add_argument(
        "--reference_image",
        type=file,
        metavar="FILE",
        help="second image, whose look guides the result (not in variation)",
    )
    what.add_argument("--mask_image", type=file, metavar="FILE", help="for the inpaint modes: white is inpainted")
    what.add_argument(
        "--mask_points",
        type=_point,
        nargs="+",
        action="extend",
        metavar="X,Y[,LABEL]",
        help="instead of a mask: points (0..1) on the object that SAM 2 finds; label 0: not this",
    )
    what.add_argument("--image_count", type=whole(1, 1000), metavar="N", help="how many images (default: 1)")
    what.add_argument(
        "--batch_size",
        type=whole(1, MAX_BATCH),
        metavar="N",
        help="how many of them a prompt makes at once, which takes that much more memory (default: 1)",
    )
    what.add_argument(
        "--seed",
        type=whole(0, MAX_SEED),
        metavar="N",
        help="of the first prompt, then 1 more each; the images of a batch share one (default: random)",
    )
    what.add_argument(
        "--aspect_ratio",
        choices=PUBLISHED_SIZES,
        help="shape of the result (default: 1:1 in variation; elsewhere the image's own, else it is cropped)",
    )
    what.add_argument(
        "--size",
        type=whole(64, 2048),
        metavar="PIXELS",
        help=f"side of 1:1, other shapes scale along (default: {PUBLISHED_SIDE}; {DEMO_SIDE} for {DEMO.name})",
    )

    how = parser.add_argument_group("how to make it")
    how.add_argument("--steps", type=whole(1, 10000), metavar="N", help="sampling steps (default: 28)")
    how.add_argument("--guidance_scale", type=number(0, 100), metavar="X", help="default: 3.5")
    how.add_argument(
        "--denoise_strength", type=fraction, metavar="X", help="how far from the image, 0..1 (default: 0.8)"
    )
    how.add_argument(
        "--reference_strength", type=fraction, metavar="X", help="how much the image that guides counts, 0..1"
    )
    how.add_argument("--center_x", type=fraction, metavar="X", help="focus: keep a circle of the image that guides,")
    how.add_argument("--center_y", type=fraction, metavar="Y", help="its centre 0..1 from the top left")
    how.add_argument(
        "--radius",
        type=number(0, MAX_RADIUS, above=True),
        metavar="R",
        help="and radius, a fraction of the shorter side",
    )
    how.add_argument("--dots", type=_dots, metavar="JSON", help=f"focus by several dots: {EXAMPLE}")
    how.add_argument("--line_mode", action="store_true", default=None, help="ControlNet by the edge map alone")
    how.add_argument(
        "--depth_mode",
        action="store_true",
        default=None,
        help="ControlNet by the depth map alone (neither or both: both)",
    )
    how.add_argument("--line_strength", type=strength, metavar="X", help="default: 0.4")
    how.add_argument("--depth_strength", type=strength, metavar="X", help="default: 0.2")
    how.add_argument("--turbo", action="store_true", default=None, help="FLUX in 8 bits: half the memory, less exact")
    how.add_argument(
        "--as_published",
        action="store_true",
        default=None,
        help="as the published script where this pack differs: ControlNet starts from pure noise and takes one map "
        "beside a mask; a focus needs a reference",
    )

    add_where(parser)

    weights = parser.add_argument_group(
        "weights, by the names ComfyUI lists (default: the checkpoint's own, else the first; those of "
        f"{DEMO.name} go with {DEMO.name} alone)"
    )
    weights.add_argument(
        "--checkpoint",
        metavar="NAME|FOLDER",
        help=f"default: the first but the bundled one, {DEMO.name}; a folder starts a ComfyUI of its own",
    )
    weights.add_argument("--controlnet", metavar="NAME")
    weights.add_argument("--depth_model", metavar="NAME", help="Depth Anything V2")
    weights.add_argument("--line_model", metavar="NAME", help="AnyLine")
    weights.add_argument("--sam2_model", metavar="NAME", help="SAM 2")
    return parser


# ---- values --------------------------------------------------------------------------------------------------------


def _point(text: str) -> Point:
    parts = text.split(",")
    try:
        x, y = (float(part) for part in parts[:2])
    except ValueError:
        x = y = float("nan")
    if not (len(parts) in (2, 3) and 0 <= x <= 1 and 0 <= y <= 1 and parts[2:] in ([], ["0"], ["1"])):
        raise argparse.ArgumentTypeError(
            f"write x,y or x,y,label with x and y from 0 to 1 and label 1 or 0, such as 0.3,0.5, not {text}"
        )
    return x, y, int(parts[2]) if parts[2:] else 1


def _dots(text: str) -> str:
    """Dots as GridDot Focus takes them."""
    try:
        parse_dots(text)
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


# ---- values together -----------------------------------------------------------------------------------------------


def _checkpoint(given: dict[str, Any]) -> tuple[dict[str, Any], Path | None]:
    """The arguments with the checkpoint's name, and its folder where one was given."""
    text = given.get("checkpoint")
    if text is None or ("server" in given and text and Path(text).name == text):
        return given, None
    try:
        named = checkpoint(text)
    except argparse.ArgumentTypeError as error:
        raise ValueError(f"argument --checkpoint: {error}") from None
    if not os.path.isabs(named):
        return {**given, "checkpoint": named}, None
    if "server" in given:
        raise ValueError(
            "argument --checkpoint: a running server cannot be given a folder; give the name it lists, or leave "
            "--server out"
        )
    if not is_checkpoint(named):
        raise ValueError(f"argument --checkpoint: {text} is no checkpoint; it holds neither qwen2-vl nor flux")
    return {**given, "checkpoint": Path(named).name}, Path(named)


def _focus(given: dict[str, Any]) -> dict[str, Any]:
    """The arguments with the circle as a dot."""
    circle = [name for name in ("center_x", "center_y", "radius") if name in given]
    if not circle:
        return given
    if len(circle) < 3:
        raise ValueError("--center_x, --center_y and --radius belong together; give all three or none")
    if "dots" in given:
        raise ValueError("--dots and the circle of --center_x, --center_y and --radius are two ways; give one of them")
    return {**given, "dots": circle_dot(given["center_x"], given["center_y"], given["radius"])}


def _remarks(given: dict[str, Any], request: Request) -> list[str]:
    """What the mode does not read of what is given; images it does not read are an error of the request."""
    read = {
        "denoise_strength": request.mode in IMG2IMG_MODES,
        **{
            f"{annotator}_{what}": annotator in request.annotators
            for what in ("mode", "strength", "model")
            for annotator in ANNOTATORS
        },
        "controlnet": bool(request.annotators),
        "sam2_model": bool(request.mask_points),
    }
    in_vain = [name for name, used in read.items() if name in given and not used]
    remarks = [f"--{name} has no part in this and is left out." for name in in_vain]
    if request.as_published and request.dots and request.mode in IMG2IMG_MODES and not request.reference_image:
        remarks.append("As published, a focus without --reference_image has no effect in this mode.")
    return remarks
