"""What every system's command of generate.py does: work on a server, write the images it makes, or the prompt.

Starts with the standard library only, in any interpreter; what needs more is imported once the right one runs.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .console import fail
from .installation import Problem
from .launch import hand_over, own_server, running_server
from .options import Options, Request
from .output import check_folder, write_file, write_picture
from .prompt import Prompt

if TYPE_CHECKING:
    from .comfy_client import ComfyClient
    from .images import MadeImage

PROGRAM = "generate.py"

# The seed and the prompt of each batch of a request, with the images they read uploaded to a server.
Prompts = Callable[[Any, "ComfyClient"], Iterator[tuple[int, Prompt]]]
# The images that a request's prompt reads, as a person has to put them into a server's input folder; those that were
# made for the prompt are written into a folder.
ImagesRead = Callable[[Any, Prompt, Path], list[str]]


def run(options: Options, prompts: Prompts, images_read: ImagesRead) -> None:
    """Do what a command line asks for, in ComfyUI's interpreter if it has to be. Raises Problem."""
    if not options.save_prompt:
        try:
            check_folder(options.output_dir)
        except Problem as problem:
            fail(PROGRAM, problem, 2)
    server = options.server or ("" if options.checkpoint_folder else running_server())
    hand_over(options.packages, starts=not server)
    from .comfy_client import ComfyClient, ComfyError
    from .server import leave_on_terminate

    leave_on_terminate()
    for remark in options.remarks:
        print(remark)
    with contextlib.nullcontext(server) if server else own_server(options) as url:
        client = ComfyClient(url)
        try:
            _check_device(client, options.device)
            if options.save_prompt:
                prompt = next(prompts(options.request, client))[1]
                write_file(options.save_prompt, (json.dumps(prompt, indent=2) + "\n").encode())
                print(f"Wrote {options.save_prompt}")
                if not server:  # whose input folder goes with it
                    read = ", ".join(images_read(options.request, prompt, options.save_prompt.parent))
                    print(f"Before you queue it, put into ComfyUI's input folder: {read}")
            else:
                _make(options.request, prompts(options.request, client), client, options.output_dir)
        except ComfyError as error:
            raise Problem(str(error)) from error


def _check_device(client: ComfyClient, wanted: str | None) -> None:
    device = client.device()
    if wanted not in (None, device):
        raise Problem(
            f"The ComfyUI on {client.url} computes on {device}, not on {wanted}; leave --device out or give another "
            "--server"
        )


def _make(request: Request, prompts: Iterator[tuple[int, Prompt]], client: ComfyClient, folder: Path) -> None:
    """Make the images and write each as soon as its prompt is done."""
    from .images import make_images
    from .progress import Progress

    progress = None

    def watch(seed: int, prompt: Prompt) -> Progress:
        nonlocal progress
        done = sum(request.batches[: seed - request.seed])
        last = done + request.batches[seed - request.seed]
        numbers = f"{last}" if last == done + 1 else f"{done + 1}-{last}"
        progress = Progress(prompt, f"[{numbers}/{request.image_count}] seed {seed}:")
        progress.say("queued")
        return progress

    try:
        for image in make_images(prompts, client, watch):
            if image.number == 1:
                progress.done()
            path = write_picture(folder, _stem(request, image), image.data)
            print(f"Wrote {path}", flush=True)
    finally:
        if progress:
            progress.leave()


def _stem(request: Request, image: MadeImage) -> str:
    """The name of an image's file: its seed, and in batches which of those with that seed it is."""
    name = f"{request.mode}_{image.seed}"
    batch = request.batches[image.seed - request.seed]
    return name if request.batch_size == 1 else f"{name}_{image.number}of{batch}"
