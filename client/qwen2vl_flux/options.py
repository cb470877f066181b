"""The command line of generate.py. Standard library only: it is read before an interpreter with more is looked for."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from ..arguments import BUNDLED, MAX_RADIUS, Parser, absolute, checkpoint, file, folder, holds_components, whole
from .request import ASPECT_RATIOS, HINTS, MAX_BATCH, MAX_SEED, MODES, REDRAWING, Point, Request

DEFAULT_SERVER = "http://127.0.0.1:8188"
DOT_RANGES = {"x": (0.0, 1.0), "y": (0.0, 1.0), "r": (0.0, MAX_RADIUS), "w": (-1.0, 1.0)}


@dataclass(frozen=True)
class Options:
    """server: the address given, empty for the usual one or a server of our own. checkpoint_folder: a checkpoint
    outside ComfyUI, for a server of our own. device: "cuda", "cpu" or None for any. remarks: what was given in vain."""

    request: Request
    output_dir: Path
    server: str
    checkpoint_folder: Path | None
    device: str | None
    save_prompt: Path | None
    remarks: tuple[str, ...]


def generate_options(arguments: Sequence[str]) -> Options:
    """Parse and check the arguments; exits with 2 and one sentence when one is wrong. Paths come back absolute."""
    parser = _parser()
    given = {name: value for name, value in vars(parser.parse_args(arguments)).items() if value is not None}
    try:
        settled, checkpoint_folder = _checkpoint(given)
        settled = {**_focus(settled), "mask_points": tuple(given.get("mask_points", ()))}
        request = Request(**{field.name: settled[field.name] for field in fields(Request) if field.name in settled})
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
        remarks=tuple(remarks),
    )


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="generate.py",
        description="Make pictures with Qwen2VL-Flux: through the ComfyUI that is running, or one started for it.",
        epilog="Ctrl-C stops the picture that is being made and keeps those that are done.",
        allow_abbrev=False,
    )
    fraction, strength = _number(0, 1), _number(0, 10)

    what = parser.add_argument_group("what to make")
    what.add_argument("--mode", required=True, choices=MODES)
    what.add_argument("--input_image", required=True, type=file, metavar="FILE", help="the picture to start from")
    what.add_argument("--prompt", type=_text, metavar="TEXT", help="words beside the picture")
    what.add_argument(
        "--reference_image",
        type=file,
        metavar="FILE",
        help="second picture, whose look guides the result (not in variation)",
    )
    what.add_argument("--mask_image", type=file, metavar="FILE", help="for inpainting: white is repainted")
    what.add_argument(
        "--mask_points",
        type=_point,
        nargs="+",
        action="extend",
        metavar="X,Y[,LABEL]",
        help="instead of a mask: points (0..1) on the object that SAM 2 finds; label 0: not this",
    )
    what.add_argument("--image_count", type=whole(1, 1000), metavar="N", help="how many pictures (default: 1)")
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
        help="of the first prompt, then 1 more each; the pictures of a batch share one (default: random)",
    )
    what.add_argument(
        "--aspect_ratio",
        choices=ASPECT_RATIOS,
        help="shape of the result (default: 1:1 in variation; elsewhere the picture's own, else it is cropped)",
    )
    what.add_argument(
        "--size",
        type=whole(64, 2048),
        metavar="PIXELS",
        help="side of 1:1, other shapes scale along (default: 1024; 128 for the bundled checkpoint)",
    )

    how = parser.add_argument_group("how to make it")
    how.add_argument("--steps", type=whole(1, 10000), metavar="N", help="sampling steps (default: 28)")
    how.add_argument("--guidance_scale", type=_number(0, 100), metavar="X", help="default: 3.5")
    how.add_argument(
        "--denoise_strength", type=fraction, metavar="X", help="how far from the picture, 0..1 (default: 0.8)"
    )
    how.add_argument(
        "--reference_strength", type=fraction, metavar="X", help="how much the picture that guides counts, 0..1"
    )
    how.add_argument("--center_x", type=fraction, metavar="X", help="focus: keep a circle of the picture that guides,")
    how.add_argument("--center_y", type=fraction, metavar="Y", help="its centre 0..1 from the top left")
    how.add_argument(
        "--radius", type=_number(0, MAX_RADIUS, above=True), metavar="R", help="and radius, a share of the shorter side"
    )
    how.add_argument(
        "--dots", type=_dots, metavar="JSON", help='focus by several dots: [{"x": 0.3, "y": 0.5, "r": 0.4, "w": 1}]'
    )
    how.add_argument("--line_mode", action="store_true", default=None, help="ControlNet by lines alone")
    how.add_argument(
        "--depth_mode", action="store_true", default=None, help="ControlNet by depth alone (neither or both: both)"
    )
    how.add_argument("--line_strength", type=strength, metavar="X", help="default: 0.4")
    how.add_argument("--depth_strength", type=strength, metavar="X", help="default: 0.2")
    how.add_argument("--turbo", action="store_true", default=None, help="FLUX in 8 bits: half the memory, less exact")
    how.add_argument(
        "--as_published",
        action="store_true",
        default=None,
        help="as the published script where this pack differs: ControlNet starts from pure noise and hears one hint "
        "beside a mask; a focus needs a reference",
    )

    where = parser.add_argument_group("where")
    where.add_argument("--output_dir", type=folder, default="outputs", metavar="FOLDER", help="default: outputs")
    where.add_argument(
        "--server",
        type=_address,
        metavar="URL",
        help=f"a running ComfyUI (default: {DEFAULT_SERVER}; if none answers there, one is started: that of "
        "COMFYUI_PATH, the one whose custom_nodes holds this pack, or that of the development set-up)",
    )
    where.add_argument("--device", choices=("cuda", "cpu"), help="what ComfyUI must compute on (default: what it has)")
    where.add_argument(
        "--save_prompt",
        type=_writable,
        metavar="FILE",
        help="write the prompt in ComfyUI's API format, for the first seed, instead of running it",
    )

    weights = parser.add_argument_group(
        "weights, by the names ComfyUI lists (default: the checkpoint's own, else the first; those of "
        f"{BUNDLED} go with {BUNDLED} alone)"
    )
    weights.add_argument(
        "--checkpoint",
        metavar="NAME|FOLDER",
        help=f"default: the first but the bundled one, {BUNDLED}; a folder starts a ComfyUI of its own",
    )
    weights.add_argument("--controlnet", metavar="NAME")
    weights.add_argument("--depth_model", metavar="NAME", help="Depth Anything V2")
    weights.add_argument("--line_model", metavar="NAME", help="AnyLine")
    weights.add_argument("--sam2_model", metavar="NAME", help="SAM 2")
    return parser


# ---- values --------------------------------------------------------------------------------------------------------


def _text(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError("the text is not UTF-8; write it in your terminal's own encoding") from None
    return text


def _number(low: float, high: float, above: bool = False) -> Callable[[str], float]:
    """A parser of numbers of a range; with `above`, the lower end is not in it."""

    def parse(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = float("nan")
        if not low <= number <= high or (above and number == low):
            span = f"above {low:g} and at most {high:g}" if above else f"from {low:g} to {high:g}"
            raise argparse.ArgumentTypeError(f"give a number {span}, not {text}")
        return number

    return parse


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
    """Dots as focus.py takes them, which needs more than the standard library."""
    example = 'write them like [{"x": 0.3, "y": 0.5, "r": 0.4, "w": 1}]'
    try:
        entries = json.loads(text, parse_int=float) if text.strip() else []
    except (ValueError, RecursionError):
        raise argparse.ArgumentTypeError(f"the dots are not JSON text; {example}") from None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise argparse.ArgumentTypeError(f"the dots are not a list of objects; {example}")
    for number, entry in enumerate(entries, start=1):
        if not {"x", "y"} <= set(entry) <= set(DOT_RANGES):
            raise argparse.ArgumentTypeError(f"dot {number} needs x and y and knows r and w beside them; {example}")
        for key, value in entry.items():
            low, high = DOT_RANGES[key]
            if not isinstance(value, float) or not low <= value <= high or (key == "r" and value == 0):
                span = f"above {low:g} and at most {high:g}" if key == "r" else f"from {low:g} to {high:g}"
                raise argparse.ArgumentTypeError(f"{key} of dot {number} must be a number {span}")
    return text


def _address(text: str) -> str:
    try:
        address = urlsplit(text)
        good = address.scheme in ("http", "https") and address.hostname and address.port != 0
        good = good and ":" not in unquote(address.username or "")  # it would begin the password
        (address.hostname or "").encode("idna")  # no part of a name has more than 63 letters
    except ValueError:
        good = False
    if not good or address.query or address.fragment or any(character.isspace() for character in text):
        shown = f"...@{text.rpartition('@')[2]}" if "@" in text else text  # without its password
        raise argparse.ArgumentTypeError(f"write the address like {DEFAULT_SERVER}, not {shown}")
    return text.rstrip("/")


def _writable(text: str) -> Path:
    path = absolute(text)
    if not text or os.path.isdir(path):
        raise argparse.ArgumentTypeError(f"{text or 'an empty name'} is not a file that could be written")
    if not os.access(path if os.path.exists(path) else path.parent, os.W_OK):
        raise argparse.ArgumentTypeError(f"{text} cannot be written; make its folder first")
    return path


# ---- values together -----------------------------------------------------------------------------------------------


def _checkpoint(given: dict[str, Any]) -> tuple[dict[str, Any], Path | None]:
    """The arguments with the checkpoint's name, and its folder where one was given."""
    told = given.get("checkpoint")
    if told is None or ("server" in given and told and Path(told).name == told):
        return given, None
    try:
        named = checkpoint(told)
    except argparse.ArgumentTypeError as error:
        raise ValueError(f"argument --checkpoint: {error}") from None
    if not os.path.isabs(named):
        return {**given, "checkpoint": named}, None
    if "server" in given:
        raise ValueError(
            "argument --checkpoint: a running server cannot be given a folder; give the name it lists, or leave "
            "--server out"
        )
    if not holds_components(named):
        raise ValueError(f"argument --checkpoint: {told} is no checkpoint; it holds neither qwen2-vl nor flux")
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


def circle_dot(x: float, y: float, radius: float) -> str:
    """The published focus circle as dots of GridDot Focus."""
    return json.dumps([{"x": x, "y": y, "r": radius, "w": 1}])


def _remarks(given: dict[str, Any], request: Request) -> list[str]:
    """What the mode does not read of what is given; pictures it does not read are an error of the request."""
    read = {
        "denoise_strength": request.mode in REDRAWING,
        **{f"{kind}_{what}": kind in request.kinds for what in ("mode", "strength", "model") for kind in HINTS},
        "controlnet": bool(request.kinds),
        "sam2_model": bool(request.mask_points),
    }
    in_vain = [name for name, used in read.items() if name in given and not used]
    remarks = [f"--{name} has no part in this and is left out." for name in in_vain]
    if request.as_published and request.dots and request.mode in REDRAWING and not request.reference_image:
        remarks.append("As published, a focus without --reference_image has no effect in this mode.")
    return remarks
