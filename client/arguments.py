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
USUAL_PORT, LAST_PORT = 8188, 65535
PROMPT_BUDGET = 256  # image tokens beside a prompt, as published; the bundled model knows its own number only
MAX_RADIUS = 10
MAX_SENTENCE = 380
MAX_WORD = 200


def sentence(text: object) -> str:
    """A message as one line of bearable length that ends with a full stop. What a terminal would obey is escaped, a
    name or value that is too long loses its middle, and an address what it says of user and password."""
    line = " ".join(_bearable(word) for word in str(text).split())
    if len(line) > MAX_SENTENCE:
        line = line[: MAX_SENTENCE - 3].rstrip() + "..."
    return line.rstrip(".") + "."


def _bearable(word: str) -> str:
    before, at, host = word.rpartition("@")
    if at and ":" in before and "\\" not in before:  # which is no path of Windows
        scheme, slashes, _ = before.partition("://")
        word = f"{scheme}{slashes}...@{host}" if slashes else f"...@{host}"
    if len(word) > MAX_WORD:
        word = f"{word[: MAX_WORD // 2]}...{word[-20:]}"
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in word)


class Parser(argparse.ArgumentParser):
    """Answers a wrong argument with one sentence and exit status 2, without the usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {sentence(message)}\n")


def file(text: str) -> Path:
    """An existing file, as an absolute path."""
    path = absolute(text)
    if not os.path.isfile(path):
        raise argparse.ArgumentTypeError(f"there is no file {text}")
    return path


def folder(text: str) -> Path:
    """A folder that exists or can be made, as an absolute path."""
    if not text:
        raise argparse.ArgumentTypeError("give the name of a folder, such as . for the one you are in")
    path = absolute(text)
    if os.path.lexists(path) and not os.path.isdir(path):
        raise argparse.ArgumentTypeError(f"{text} is not a folder")
    return path


def checkpoint(text: str) -> str:
    """Plain names stay, a folder becomes its absolute path, and the bundled folder its name, which no other has."""
    path = Path(os.path.abspath(absolute(text)))  # a link keeps its name, .. gets one
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


def absolute(text: str) -> Path:
    """A path as given, made absolute; ~ is the home folder."""
    try:
        return Path(os.path.expanduser(text)).absolute()
    except FileNotFoundError:
        raise argparse.ArgumentTypeError("the folder you are in is gone; change to another one") from None
