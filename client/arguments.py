"""What command lines of this repository read alike. Standard library only: it is read before anything is installed."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn
from urllib.parse import unquote, urlsplit

from systems.common.layout import DEMO
from systems.qwen2vl_flux.layout import is_checkpoint

# The address of a ComfyUI that is started without options.
DEFAULT_SERVER = "http://127.0.0.1:8188"
USUAL_PORT, LAST_PORT = 8188, 65535
# The characters of a sentence, and of a word in it.
MAX_SENTENCE, MAX_WORD = 380, 200


def sentence(text: object) -> str:
    """A message as one line of bearable length that ends with a full stop. What a terminal would obey is escaped, a
    name or value that is too long loses its middle, and an address what it says of user and password."""
    line = " ".join(_shown(word) for word in str(text).split())
    if len(line) > MAX_SENTENCE:
        line = line[: MAX_SENTENCE - 3].rstrip() + "..."
    return line.rstrip(".") + "."


def _shown(word: str) -> str:
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
    """Plain names stay, a folder becomes its absolute path, and the pack's own demo its name, which no other has."""
    path = Path(os.path.abspath(absolute(text)))  # a link keeps its name, .. gets one
    if not text or not os.path.isdir(path):
        if not text or Path(text).name != text:
            raise argparse.ArgumentTypeError(f"there is no folder {text}")
        return text
    if path.resolve() == DEMO.resolve():
        return DEMO.name
    if path.name == DEMO.name and (text != DEMO.name or is_checkpoint(path)):
        raise argparse.ArgumentTypeError(
            f"the folder {path} has the name of the bundled checkpoint; rename it, or link to it by another name"
        )
    return DEMO.name if text == DEMO.name else str(path)


def writable_file(text: str) -> Path:
    """A file that can be written, as an absolute path."""
    path = absolute(text)
    if not text or os.path.isdir(path):
        raise argparse.ArgumentTypeError(f"{text or 'an empty name'} is not a file that could be written")
    if not os.access(path if os.path.exists(path) else path.parent, os.W_OK):
        raise argparse.ArgumentTypeError(f"{text} cannot be written; make its folder first")
    return path


def whole(smallest: int, largest: int) -> Callable[[str], int]:
    """A parser of whole numbers of a range."""

    def parse(text: str) -> int:
        # Python refuses to read thousands of digits
        if not text.isdecimal() or len(text) > 20 or not smallest <= int(text) <= largest:
            raise argparse.ArgumentTypeError(f"give a whole number from {smallest} to {largest}, not {text}")
        return int(text)

    return parse


def number(low: float, high: float, above: bool = False) -> Callable[[str], float]:
    """A parser of numbers of a range; with `above`, the lower end is not in it."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not low <= value <= high or (above and value == low):
            span = f"above {low:g} and at most {high:g}" if above else f"from {low:g} to {high:g}"
            raise argparse.ArgumentTypeError(f"give a number {span}, not {text}")
        return value

    return parse


def utf8_text(text: str) -> str:
    """Any text that can be sent to a server."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError("the text is not UTF-8; write it in your terminal's own encoding") from None
    return text


def server_address(text: str) -> str:
    """The address of a ComfyUI, with a user and password or without."""
    try:
        address = urlsplit(text)
        good = address.scheme in ("http", "https") and address.hostname and address.port != 0
        good = good and ":" not in unquote(address.username or "")  # it would begin the password
        (address.hostname or "").encode("idna")  # no part of a name has more than 63 letters
    except ValueError:
        good = False
    if not good or address.query or address.fragment or any(character.isspace() for character in text):
        shown = f"...@{text.rpartition('@')[2]}" if "@" in text else text  # without its password
        raise argparse.ArgumentTypeError(f"write the address like {DEFAULT_SERVER}, not {shown}")
    return text.rstrip("/")


def absolute(text: str) -> Path:
    """A path as given, made absolute; ~ is the home folder."""
    try:
        return Path(os.path.expanduser(text)).absolute()
    except FileNotFoundError:
        raise argparse.ArgumentTypeError("the folder you are in is gone; change to another one") from None
