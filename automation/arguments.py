"""What command lines of this repository read alike. Standard library only: it is read before anything is installed."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

COMPONENTS = ("qwen2-vl", "flux")
BUNDLED = "demo"
BUNDLED_FOLDER = Path(__file__).resolve().parent.parent / "demo"
BUNDLED_SIZE = 128
PUBLISHED_SIZE = 1024
PROMPT_BUDGET = 256  # image tokens beside a prompt, as published; the bundled model knows its own number only
MAX_RADIUS = 10


class Parser(argparse.ArgumentParser):
    """Answers a wrong argument with one sentence and exit status 2, without the usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


def file(text: str) -> Path:
    """An existing file, as an absolute path."""
    path = _absolute(text)
    if not os.path.isfile(path):
        raise argparse.ArgumentTypeError(f"there is no file {text}")
    return path


def folder(text: str) -> Path:
    """A folder that exists or can be made, as an absolute path."""
    path = _absolute(text)
    if os.path.lexists(path) and not os.path.isdir(path):
        raise argparse.ArgumentTypeError(f"{text} is not a folder")
    return path


def checkpoint(text: str) -> str:
    """Plain names stay, a folder becomes its absolute path, and the bundled folder its name, which no other has."""
    path = Path(os.path.abspath(os.path.expanduser(text)))  # a link keeps its name, .. gets one
    if not text or not os.path.isdir(path):
        if not text or Path(text).name != text:
            raise argparse.ArgumentTypeError(f"there is no folder {text}")
        return text
    if path.resolve() == BUNDLED_FOLDER:
        return BUNDLED
    if path.name == BUNDLED and (text != BUNDLED or holds_components(path)):
        raise argparse.ArgumentTypeError(
            f"the folder {path} has the name of the bundled checkpoint; rename it, or link to it by another name"
        )
    return BUNDLED if text == BUNDLED else str(path)


def holds_components(folder: str | Path) -> bool:
    """Whether a folder holds a checkpoint, or a part of one."""
    return any(os.path.isdir(os.path.join(folder, component)) for component in COMPONENTS)


def whole(smallest: int, largest: int) -> Callable[[str], int]:
    """A parser of whole numbers of a range."""

    def parse(text: str) -> int:
        # Python refuses to read thousands of digits
        if not text.isdecimal() or len(text) > 20 or not smallest <= int(text) <= largest:
            raise argparse.ArgumentTypeError(f"give a whole number from {smallest} to {largest}, not {text}")
        return int(text)

    return parse


def _absolute(text: str) -> Path:
    return Path(os.path.expanduser(text)).absolute()
