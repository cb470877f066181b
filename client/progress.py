"""What a person sees while a prompt runs."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any


class Progress:
    """Shows a prompt's messages: one updating line on a terminal, a few plain lines elsewhere."""

    def __init__(self, prompt: Mapping[str, Any], label: str):
        self._prompt = prompt
        self._label = label
        self._live = sys.stdout.isatty()
        self._started = time.monotonic()
        self._nodes = 0
        self._shown = False

    def __call__(self, event: Mapping[str, Any]) -> None:
        """Take in a message as the server sent it."""
        data = event["data"]
        if event["type"] == "executing" and data["node"]:
            self._nodes += 1
            self.say(self._name(data["node"]))
        elif event["type"] == "progress" and data["node"]:
            value, total = data["value"], data["max"]
            if self._live or value == total or value % max(1, total // 4) == 0:
                self.say(f"{self._name(data['node'])} {value}/{total}")

    def done(self) -> None:
        """Sum up, once the prompt has ended."""
        self.say(f"{self._nodes} nodes run in {time.monotonic() - self._started:.1f} s")
        self.leave()

    def leave(self) -> None:
        """Leave the updating line as it stands, if there is one, and go below it."""
        if self._shown and self._live:
            print()
        self._shown = False

    def _name(self, node: str) -> str:
        return self._prompt[node]["class_type"] if node in self._prompt else node

    def say(self, text: str) -> None:
        """Show a text behind the label."""
        self._shown = True
        if self._live:
            print(f"\r\x1b[2K{self._label} {text}", end="", flush=True)
        else:
            print(f"{self._label} {text}", flush=True)
