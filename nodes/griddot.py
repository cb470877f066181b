"""Focus on parts of the reference image."""

from __future__ import annotations

import hashlib
import logging
import os
from io import BytesIO
from pathlib import Path

import folder_paths
import torch
from comfy_api.latest import io

from ..systems.common.errors import InputError, plain
from ..systems.common.images import thumbnail
from ..systems.qwen2vl_flux import focus
from ..systems.qwen2vl_flux.dots import EXAMPLE, parse_dots
from ..systems.qwen2vl_flux.tokens import ImageTokens
from .checked import CheckedNode
from .types import CATEGORY, Qwen2VLTokens

# The pixels of the longer side of the image that goes to the panel.
THUMBNAIL_SIDE = 512
# The decimals to which the mask's values go to the panel.
DECIMALS = 3


class GridDotFocus(CheckedNode):
    """Weights of the image tokens by dots and a mask; the panel in web/griddot writes the dots."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="GridDotFocus",
            display_name="GridDot Focus",
            category=CATEGORY,
            description="Weights the tokens of the reference image: click on it to keep or suppress what lies there.",
            search_aliases=["qwen2vl", "attention mask", "region", "grid dot", "focus point"],
            has_intermediate_output=True,  # the panel gets its message of a cached run too
            inputs=[
                Qwen2VLTokens.Input("tokens", tooltip="Tokens from Qwen2VL Encode."),
                io.String.Input(
                    "dots",
                    default="",
                    multiline=True,
                    placeholder=EXAMPLE,
                    dynamic_prompts=False,
                    tooltip="JSON list of dots, written by the panel or by hand. x, y: centre, 0 to 1 from the top "
                    "left; r: radius as a fraction of the shorter side (default: 0.5); w: 1 keeps, -1 suppresses "
                    "(default: 1). Where dots that keep overlap, the larger weight counts; dots that suppress then "
                    "take their part away. Empty: the whole image.",
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Mask of any size, stretched over the image: white keeps, black suppresses. Its average "
                    "over each token multiplies the weight from the dots.",
                ),
                io.Combo.Input(
                    "mode",
                    options=list(focus.MODES),
                    tooltip="scale multiplies each token by its weight, as published; drop takes tokens of weight 0 "
                    "out of the context altogether, which is stricter and faster; attention leaves the tokens as they "
                    "are and weights how much FLUX looks at each, which is gradual.",
                ),
            ],
            outputs=[
                Qwen2VLTokens.Output("tokens", display_name="tokens", tooltip="Weighted tokens for Qwen2VL Connector."),
                io.Mask.Output("focus_map", tooltip="Weights as applied, at the size of the reference image."),
            ],
        )

    @classmethod
    def validate_inputs(cls, dots: str | None = None) -> bool | str:
        try:
            parse_dots("" if dots is None else dots)  # None while they come from another node
        except InputError as error:
            return str(error)
        return True

    @classmethod
    def execute(cls, tokens: ImageTokens, dots: str, mode: str, mask: torch.Tensor | None = None) -> io.NodeOutput:
        rows, columns = tokens.grid
        weights = focus.focus_map(parse_dots(dots), rows, columns)[None].to(tokens.embeddings.device)
        masked = None
        if mask is not None:
            masked = focus.pool_mask(mask.to(weights.device), rows, columns, len(tokens.embeddings))
            weights = weights * masked
        return io.NodeOutput(
            focus.apply_focus(tokens, weights, mode),
            focus.at_image_size(weights, *tokens.picture.shape[1:3]),
            ui={"griddot": [_shown(tokens, dots, masked)]},
        )


def _shown(tokens: ImageTokens, dots: str, mask: torch.Tensor | None) -> dict:
    """What the panel in web/griddot draws after a run: the grid, the dots as they came in, the first image and,
    if there is one, the first mask as rows of weights."""
    rows, columns = tokens.grid
    shown = {"rows": rows, "columns": columns, "dots": dots}
    if mask is not None:
        shown["mask"] = [[round(value, DECIMALS) for value in row] for row in mask[0].tolist()]
    try:
        shown["picture"] = _temporary(tokens.picture[0])
    except OSError as error:
        logging.warning("GridDot Focus could not write a thumbnail for its panel: %s", plain(error))
    return shown


def _temporary(picture: torch.Tensor) -> dict[str, str]:
    """An image [H, W, C] as a small file in ComfyUI's temp folder, in the words of its /view address.

    The name tells the content, so that one image is one file however often a dot is moved.
    """
    written = BytesIO()
    thumbnail(picture, THUMBNAIL_SIDE).save(written, "JPEG", quality=85)
    name = f"griddot_{hashlib.sha256(written.getvalue()).hexdigest()[:16]}.jpg"
    folder = Path(folder_paths.get_temp_directory())
    if not (folder / name).exists():
        folder.mkdir(parents=True, exist_ok=True)
        part = folder / f"{name}.{os.getpid()}"
        part.write_bytes(written.getvalue())
        part.replace(folder / name)
    return {"filename": name, "subfolder": "", "type": "temp"}


NODES = [GridDotFocus]
