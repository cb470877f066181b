"""The pack's own errors: one sentence that names the thing, what was expected and what to do.

A server's output may be unable to show other letters than ASCII, and ComfyUI's prompt worker ends when it cannot write
an error or a log line. So every sentence is one line of ASCII, whatever names and values it quotes.

ComfyUI shows an exception's module before its sentence; `__module__` keeps that to the pack's name.
"""

from __future__ import annotations

import reprlib

# The most characters of a sentence.
LONGEST = 400
# The characters at the beginning of a sentence whose middle is left out; the end holds the remedy.
OPENING = 150
GAP = " ... "

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 40


class _Sentence(ValueError):
    def __init__(self, sentence: str):
        super().__init__(plain(sentence))


class InputError(_Sentence):
    """A picture, a text or a connection in the graph cannot be used as it is."""

    __module__ = "Qwen2VL-Flux"


class CheckpointError(_Sentence):
    """A checkpoint folder or file is missing, broken or not what its place calls for."""

    __module__ = "Qwen2VL-Flux"


def plain(text: object, most: int = LONGEST) -> str:
    """Text as one line of ASCII: everything else is escaped, and beyond `most` characters the middle is left out."""
    text = str(text)
    if len(text) > most:  # escaping only makes it longer
        text = text[:most] + text[-most:]
    line = "".join(each if " " <= each <= "~" else each.encode("unicode_escape").decode("ascii") for each in text)
    if len(line) <= most:
        return line
    opening = min(OPENING, most // 2)
    return line[:opening] + GAP + line[opening + len(GAP) - most :]


def quoted(value: object) -> str:
    """A value as Python writes it, in one short line of ASCII."""
    return plain(_SHORT.repr(value), 80)
