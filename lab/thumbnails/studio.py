"""A ComfyUI of its own that makes the pictures."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from client.comfy_client import ComfyClient
from client.qwen2vl_flux.graph import Prompt
from client.server import ComfyServer, default_comfyui

from .tiles import Made

LOG = Path(__file__).resolve().parents[2] / ".dev" / "thumbnails.log"
# Inputs of the pack's loaders that name weights.
WEIGHTS = ("checkpoint", "controlnet", "file")


@dataclass(frozen=True)
class Studio:
    """A running server, its input folder, and the nodes it knows."""

    client: ComfyClient
    inputs: Path
    known: Mapping[str, Any]

    def unlisted(self, prompt: Prompt) -> list[str]:
        """The weights of a prompt that its loaders do not list."""
        return [
            entry["inputs"][name]
            for entry in prompt.values()
            for name in WEIGHTS
            if name in entry["inputs"] and entry["inputs"][name] not in self._listed(entry["class_type"], name)
        ]

    def make(self, prompt: Prompt) -> Made:
        """Run a prompt. Raises ComfyError."""
        return Made(self.client, self.inputs, self.client.run(prompt))

    def _listed(self, loader: str, name: str) -> list[str]:
        return self.known[loader]["input"]["required"][name][1]["options"]


@contextmanager
def studio() -> Iterator[Studio]:
    """A server for as long as the context lasts. Raises ServerFailed."""
    python = os.environ.get("COMFYUI_PYTHON", sys.executable)
    with tempfile.TemporaryDirectory() as scratch:
        folders = {f"{kind}_dir": Path(scratch, kind) for kind in ("output", "input", "temp", "user")}
        server = ComfyServer(default_comfyui(), python, extra_args=["--disable-api-nodes"], log=LOG, **folders)
        with server:
            client = ComfyClient(server.url)
            yield Studio(client, folders["input_dir"], client.object_info())
