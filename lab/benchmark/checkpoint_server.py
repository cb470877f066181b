"""A ComfyUI that makes the images to be judged, of one checkpoint."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from client.qwen2vl_flux.graph import Prompt, node
from client.server import leave_on_terminate

from ..image_server import FinishedPrompt, ImageServer, image_server
from ..process_memory import resident, restart_high_water
from ..world.scenes import UNIT
from .held_out import as_values
from .judge import Verdict, judge

LOG = Path(__file__).resolve().parents[2] / ".dev" / "pictures.log"
STEPS, GUIDANCE = 20, 3.5
# The number of prompts that are at the server at a time, so that it need not wait for the next one.
QUEUED = 2
# The number of prompts whose time is taken.
TIMED = 9

Figures = dict[str, object]
# A function that makes contact sheets of a name, rows of images that lie side by side, and a remark on each row.
Show = Callable[[str, Sequence[Sequence[Image.Image]], Sequence[str]], None]


@dataclass(frozen=True, eq=False)
class Made:
    """The first image that the node `save` of a prompt saved, and the prompt it came of."""

    picture: Image.Image
    prompt: FinishedPrompt


def verdicts_on(made: Iterable[Made]) -> list[Verdict]:
    """What the judge says of each."""
    return [judge(as_values(each.picture)) for each in made]


@dataclass(frozen=True)
class CheckpointServer:
    """A running server, and the name of the checkpoint whose images it makes."""

    server: ImageServer
    checkpoint: str

    @property
    def settings(self) -> dict[str, object]:
        """The settings of every image, as client.qwen2vl_flux.graph takes them."""
        return {"checkpoint": self.checkpoint, "size": UNIT, "steps": STEPS, "guidance": GUIDANCE}

    def unlisted(self, prompt: Prompt) -> list[str]:
        """The weights of a prompt that its loaders do not list."""
        return self.server.unlisted(prompt)

    def put(self, name: str, pictures: Iterable[Image.Image]) -> list[str]:
        """Save images where LoadImage finds them; returns what it calls them."""
        names = []
        for index, picture in enumerate(pictures):
            names.append(f"{name}_{index:03d}.png")
            picture.save(self.server.inputs / names[-1])
        return names

    def make(self, what: str, prompts: Sequence[Prompt]) -> list[Made]:
        """What the node `save` of each prompt gives, in the same order. Raises ComfyError."""
        began = time.perf_counter()
        with ThreadPoolExecutor(QUEUED) as pool:
            made = list(pool.map(self._made, prompts))
        taken = time.perf_counter() - began
        print(f"{what}: {len(made)} images in {taken:.0f} s", file=sys.stderr, flush=True)
        return made

    def reconstructions(self, names: Sequence[str]) -> list[Prompt]:
        """Images through the checkpoint's autoencoder and back."""
        return [
            {
                "image": node("LoadImage", image=name),
                "vae": node("Qwen2VLFluxVAELoader", checkpoint=self.checkpoint),
                "encode": node("VAEEncode", pixels=["image", 0], vae=["vae", 0]),
                "decode": node("VAEDecode", samples=["encode", 0], vae=["vae", 0]),
                "save": node("SaveImage", images=["decode", 0], filename_prefix="reconstruction"),
            }
            for name in names
        ]

    def effort(self, prompts: Sequence[Prompt]) -> dict[str, float]:
        """Seconds that an image takes, one at a time; bytes the process has in memory at its highest, and how many
        more than before."""
        self._made(prompts[0])
        before = resident("VmRSS", self.server.process)
        restart_high_water(self.server.process)
        seconds = []
        for prompt in prompts[1 : 1 + TIMED]:
            began = time.perf_counter()
            self._made(prompt)
            seconds.append(time.perf_counter() - began)
        return {
            "seconds": statistics.median(seconds),
            "memory": resident("VmHWM", self.server.process),
            "added": resident("VmHWM", self.server.process) - before,
        }

    def _made(self, prompt: Prompt) -> Made:
        finished = self.server.run(prompt)
        return Made(finished.shown("save")[0], finished)


@contextmanager
def checkpoint_server(checkpoint: str) -> Iterator[CheckpointServer]:
    """A server of its own for a checkpoint: a name, or a folder in the published layout."""
    leave_on_terminate()
    env = {"CHECKPOINT_DIR": checkpoint} if Path(checkpoint).is_absolute() else {}
    with image_server(LOG, env) as server:
        yield CheckpointServer(server, Path(checkpoint).name)
