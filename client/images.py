"""Images out of prompts, whichever system these are of."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from .comfy_client import ComfyClient, ComfyError, Event
from .prompt import Prompt

PNG = b"\x89PNG"

# What is given the seed and the prompt of a batch, and gives what sees the messages of its run.
Watch = Callable[[int, Prompt], Callable[[Event], None]]


@dataclass(frozen=True)
class MadeImage:
    """An image that was made. data: the PNG file as ComfyUI wrote it, with the workflow in it. number: which of the
    images of its prompt, from 1; together they share the seed."""

    seed: int
    data: bytes
    prompt: Prompt
    number: int = 1


def make_images(
    prompts: Iterator[tuple[int, Prompt]], client: ComfyClient, watch: Watch | None = None
) -> Iterator[MadeImage]:
    """Run prompts, each given with its seed, one after the other; the images of their node `save` are yielded as soon
    as it is done.

    `watch` is called in the calling thread. What interrupts this thread (Ctrl-C among it) takes the prompt off the
    server. Raises ComfyError with one sentence.
    """
    for seed, prompt in prompts:
        prompt_id = str(uuid.uuid4())
        try:
            run = client.run(prompt, watch(seed, prompt) if watch else None, prompt_id)
        except ComfyError:
            raise
        except BaseException:
            with contextlib.suppress(ComfyError):  # the server is gone, and the prompt with it
                client.cancel(prompt_id)
            raise
        with client.reading():
            images = list(run.outputs["save"]["images"])
        for number, image in enumerate(images, start=1):
            data = client.fetch(image)
            if not data.startswith(PNG):
                raise ComfyError(f"What {client.url} hands out as an image is no PNG file")
            yield MadeImage(seed, data, prompt, number)
