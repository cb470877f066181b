"""What every system's command of generate.py reads beside its own request. Standard library only."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from .arguments import DEFAULT_SERVER, folder, server_address, writable_file


class Request(Protocol):
    """Images to make: `batches` prompts, each of as many images as it says, prompt i with the seed `seed` + i. `mode`
    begins the names of their files; an empty `checkpoint` is the first that the server lists."""

    mode: str
    checkpoint: str
    seed: int
    image_count: int
    batch_size: int
    batches: tuple[int, ...]


@dataclass(frozen=True)
class Options:
    """server: the address given, empty for the usual one or a server of our own. checkpoint_folder: a checkpoint
    outside ComfyUI, for a server of our own. device: "cuda", "cpu" or None for any. packages: what has to be installed
    to make these images. remarks: what was given in vain."""

    request: Request
    output_dir: Path
    server: str
    checkpoint_folder: Path | None
    device: str | None
    save_prompt: Path | None
    packages: tuple[str, ...]
    remarks: tuple[str, ...]


def add_where(parser: argparse.ArgumentParser) -> None:
    """The group of arguments that say where to work and to write: output_dir, server, device and save_prompt."""
    where = parser.add_argument_group("where")
    where.add_argument("--output_dir", type=folder, default="outputs", metavar="FOLDER", help="default: outputs")
    where.add_argument(
        "--server",
        type=server_address,
        metavar="URL",
        help=f"a running ComfyUI (default: {DEFAULT_SERVER}; if none answers there, one is started: that of "
        "COMFYUI_PATH, the one whose custom_nodes holds this pack, or that of the development set-up)",
    )
    where.add_argument("--device", choices=("cuda", "cpu"), help="what ComfyUI must compute on (default: what it has)")
    where.add_argument(
        "--save_prompt",
        type=writable_file,
        metavar="FILE",
        help="write the prompt in ComfyUI's API format, for the first seed, instead of running it",
    )
