"""A ComfyUI of its own that makes images of prompts."""

from __future__ import annotations

import io
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from client.comfy_client import ComfyClient, Run
from client.qwen2vl_flux.graph import Prompt
from client.server import ComfyServer, default_comfyui

# The inputs of the pack's loaders that name weights.
WEIGHTS = ("checkpoint", "controlnet", "file")


@dataclass(frozen=True)
class FinishedPrompt:
    """A prompt that ran, on a server whose input folder is `inputs`."""

    client: ComfyClient
    inputs: Path
    run: Run

    def given(self, name: str) -> Image.Image:
        """An image of the input folder."""
        return Image.open(self.inputs / name)

    def shown(self, node: str) -> list[Image.Image]:
        """The images that a node saved, or shows."""
        return [Image.open(io.BytesIO(self.client.fetch(image))) for image in self.run.outputs[node]["images"]]


@dataclass(frozen=True)
class ImageServer:
    """A running server: its client, its input folder, the nodes it knows, and the number of its process."""

    client: ComfyClient
    inputs: Path
    known: Mapping[str, Any]
    process: int

    def run(self, prompt: Prompt) -> FinishedPrompt:
        """Run a prompt. Raises ComfyError."""
        return FinishedPrompt(self.client, self.inputs, self.client.run(prompt))

    def unlisted(self, prompt: Prompt) -> list[str]:
        """The weights of a prompt that its loaders do not list."""
        return [
            entry["inputs"][name]
            for entry in prompt.values()
            for name in WEIGHTS
            if name in entry["inputs"] and entry["inputs"][name] not in self._listed(entry["class_type"], name)
        ]

    def _listed(self, loader: str, name: str) -> list[str]:
        return self.known[loader]["input"]["required"][name][1]["options"]


@contextmanager
def image_server(log: Path, env: Mapping[str, str] | None = None) -> Iterator[ImageServer]:
    """A server for as long as the context lasts; env: what it gets beside this process's environment. Raises
    ServerFailed."""
    python = os.environ.get("COMFYUI_PYTHON", sys.executable)
    with tempfile.TemporaryDirectory() as scratch:
        folders = {f"{kind}_dir": Path(scratch, kind) for kind in ("output", "input", "temp", "user")}
        options = {"extra_args": ["--disable-api-nodes"], "env": env, "log": log, **folders}
        server = ComfyServer(default_comfyui(), python, **options)
        with server:
            client = ComfyClient(server.url)
            yield ImageServer(client, folders["input_dir"], client.object_info(), server.process.pid)
