"""A ComfyUI that makes the pictures to be judged."""

from __future__ import annotations

import io
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from benchmarks.comfyui import ROOT
from benchmarks.memory import resident, restart_high_water
from client.comfy_client import ComfyClient, Run
from client.qwen2vl_flux.graph import Prompt, node
from client.server import ComfyServer, default_comfyui, leave_on_terminate

from ..world.scenes import UNIT
from .held_out import as_values
from .judge import Verdict, judge

LOG = ROOT / ".dev" / "pictures.log"
STEPS, GUIDANCE = 20, 3.5
# Prompts that are at the server at a time, so that it need not wait for the next one.
QUEUED = 2
TIMED = 9

Figures = dict[str, object]
# What makes contact sheets: name, rows of pictures that lie side by side, and a remark on each row.
Show = Callable[[str, Sequence[Sequence[Image.Image]], Sequence[str]], None]


@dataclass(frozen=True, eq=False)
class Made:
    """A picture that the server made, the first of the run it came of."""

    picture: Image.Image
    run: Run


def verdicts_on(made: Iterable[Made]) -> list[Verdict]:
    """What the judge says of each."""
    return [judge(as_values(each.picture)) for each in made]


class Studio:
    """A running server with one checkpoint."""

    def __init__(self, server: ComfyServer, inputs: Path, checkpoint: str):
        self.client = ComfyClient(server.url)
        self.process = server.process.pid
        self.inputs = inputs
        self.checkpoint = checkpoint
        self.known = self.client.object_info()

    @property
    def settings(self) -> dict[str, object]:
        """Of every picture, as client.qwen2vl_flux.graph takes them."""
        return {"checkpoint": self.checkpoint, "size": UNIT, "steps": STEPS, "guidance": GUIDANCE}

    def lists(self, name: str) -> bool:
        """Whether a loader offers weights of this name."""
        loaders = ("Qwen2VLFluxControlNetLoader", "Qwen2VLFluxDepthAnythingV2Loader", "Qwen2VLFluxAnyLineLoader")
        inputs = [self.known[loader]["input"]["required"] for loader in loaders]
        return any(name in settings["options"] for each in inputs for _, settings in each.values())

    def put(self, name: str, pictures: Iterable[Image.Image]) -> list[str]:
        """Save pictures where LoadImage finds them; returns what it calls them."""
        names = []
        for index, picture in enumerate(pictures):
            names.append(f"{name}_{index:03d}.png")
            picture.save(self.inputs / names[-1])
        return names

    def make(self, what: str, prompts: Sequence[Prompt]) -> list[Made]:
        """What the node `save` of each prompt gives, in the same order. Raises ComfyError."""
        began = time.perf_counter()
        with ThreadPoolExecutor(QUEUED) as pool:
            made = list(pool.map(self._made, prompts))
        taken = time.perf_counter() - began
        print(f"{what}: {len(made)} pictures in {taken:.0f} s", file=sys.stderr, flush=True)
        return made

    def reconstructions(self, names: Sequence[str]) -> list[Prompt]:
        """Pictures through the checkpoint's autoencoder and back."""
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
        """Seconds that a picture takes, one at a time; bytes the process has in memory at its highest, and how many
        more than before."""
        self._made(prompts[0])
        before = resident("VmRSS", self.process)
        restart_high_water(self.process)
        seconds = []
        for prompt in prompts[1 : 1 + TIMED]:
            began = time.perf_counter()
            self._made(prompt)
            seconds.append(time.perf_counter() - began)
        return {
            "seconds": statistics.median(seconds),
            "memory": resident("VmHWM", self.process),
            "added": resident("VmHWM", self.process) - before,
        }

    def fetched(self, image: dict[str, str]) -> Image.Image:
        return Image.open(io.BytesIO(self.client.fetch(image)))

    def _made(self, prompt: Prompt) -> Made:
        run = self.client.run(prompt)
        return Made(self.fetched(run.outputs["save"]["images"][0]), run)


@contextmanager
def studio(checkpoint: str) -> Iterator[Studio]:
    """A server of its own for a checkpoint: a name, or a folder in the published layout."""
    leave_on_terminate()
    environment = {"CHECKPOINT_DIR": checkpoint} if Path(checkpoint).is_absolute() else {}
    with tempfile.TemporaryDirectory() as scratch:
        folders = {f"{kind}_dir": Path(scratch, kind) for kind in ("output", "input", "temp", "user")}
        server = ComfyServer(default_comfyui(), extra_args=["--disable-api-nodes"], env=environment, log=LOG, **folders)
        with server:
            yield Studio(server, folders["input_dir"], Path(checkpoint).name)
