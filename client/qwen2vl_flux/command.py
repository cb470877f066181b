"""generate.py's command for Qwen2VL-Flux. Standard library only, until its prompts are built."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..command import run
from ..output import write_picture
from ..prompt import Prompt
from .options import generate_options
from .request import Request

if TYPE_CHECKING:
    from ..comfy_client import ComfyClient


def main(arguments: Sequence[str]) -> None:
    """Do what the arguments ask for; exits with 2 and one sentence when one is wrong. Raises Problem."""
    run(generate_options(arguments), prompts, images_read)


def prompts(request: Request, client: ComfyClient) -> Iterator[tuple[int, Prompt]]:
    from .generate import prompts  # aiohttp is there by now

    return prompts(request, client)


def images_read(request: Request, prompt: Prompt, folder: Path) -> list[str]:
    """The images that a prompt reads, each with the name it has there where that is another one. The mask, which was
    made grey for it, is written into the folder."""
    from ..masks import grey_mask

    paths = {"image": request.input_image, "reference": request.reference_image, "mask": request.mask_image}
    names = {key: prompt[key]["inputs"]["image"] for key, path in paths.items() if path}
    if request.mask_image:
        paths["mask"] = write_picture(folder, Path(names["mask"]).stem, grey_mask(request.mask_image))
    files = [(path, names[key]) for key, path in paths.items() if path]
    return [str(path) if path.name == name else f"{path} as {name}" for path, name in files]
