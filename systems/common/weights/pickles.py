"""What a .pt or .pth file asks its reader to do, looked at before torch reads it.

torch's weights-only reader runs no code of the file's, but a few hundred bytes can keep it busy for ever, and a
compressed archive can fill the memory. Named tensors need nothing of what such files are made of.
"""

from __future__ import annotations

import io
import pickletools
import zipfile
from pathlib import Path
from typing import BinaryIO

# The most bytes of a pickle, which holds names, shapes and places of tensors: some hundred and fifty for each.
MOST_BYTES = 1 << 21
# The most parts of a tuple with all that is in it; those of a tensor have about twenty.
MOST_PARTS = 128
# The pickles at the start of torch's old format: a magic number, a version, facts about the system, the object, its
# storages.
OLD_PICKLES = 5

VALUES = {
    "NONE", "NEWFALSE", "NEWTRUE", "BININT", "BININT1", "BININT2", "BINFLOAT", "BINUNICODE", "SHORT_BINSTRING",
    "EMPTY_TUPLE", "EMPTY_LIST", "EMPTY_DICT",
}  # fmt: skip
# The number of values that each step takes off the stack; the containers that the last three fill stay.
TAKES = {
    "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3, "BINPERSID": 1, "REDUCE": 2, "NEWOBJ": 2, "APPEND": 1, "SETITEM": 2,
    "BUILD": 1,
}  # fmt: skip
TAKES_MARKED = {"TUPLE", "APPENDS", "SETITEMS"}
FILLS = {"APPEND", "APPENDS", "SETITEM", "SETITEMS", "BUILD"}
CALLS = {
    "torch._utils _rebuild_tensor",
    "torch._utils _rebuild_tensor_v2",
    "torch._utils _rebuild_tensor_v3",
    "torch._utils _rebuild_parameter",
    "torch._utils _rebuild_parameter_with_state",
    "torch Size",
}
# The container that is made without arguments and filled by later steps.
EMPTY = "collections OrderedDict"
LONG_NUMBER = 1 << 63

# A value on the stack, as far as it matters: of how many parts it is, or which global.
Value = int | str


class NotPlain(Exception):
    """The file asks for more than named tensors need."""


def check_pt(path: Path) -> None:
    """Raise NotPlain, or what a damaged archive or pickle leads Python's readers to, unless the file is one that torch
    reads in a time and a memory that grow as the file."""
    with path.open("rb") as file:
        if file.read(4) == b"PK\x03\x04":
            _check_archive(file, path.stat().st_size)
        else:
            file.seek(0)
            start = io.BytesIO(file.read(MOST_BYTES))
            for _ in range(OLD_PICKLES):
                _check_pickle(start)


def _check_archive(file: BinaryIO, size: int) -> None:
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        if sum(entry.file_size for entry in entries) > size:  # torch does not compress
            raise NotPlain("the entries exceed the file")
        for entry in entries:
            if entry.filename.lower().endswith(".pkl"):  # torch finds its pickle in capitals too
                with archive.open(entry) as pickle:
                    _check_pickle(io.BytesIO(pickle.read(MOST_BYTES)))


def _check_pickle(file: BinaryIO) -> None:
    """Go through the steps of one pickle with the number of its parts in place of each value.

    The hash of a tuple takes as long as it has parts, and a tuple of twice the same tuple has twice the parts for three
    bytes. So tuples stay small, and keys are simple values.
    """
    stack: list[Value] = []
    marks: list[int] = []
    memo: dict[int, Value] = {}
    for step, argument, _ in pickletools.genops(file):
        name = step.name
        if name == "MARK":
            marks.append(len(stack))
        elif name == "GLOBAL":
            stack.append(argument)
        elif name in VALUES:
            stack.append(1)
        elif name == "LONG1":
            stack.append(1 if abs(argument) < LONG_NUMBER else 2)  # long ones can be made to have one hash
        elif name in ("BINPUT", "LONG_BINPUT"):
            memo[argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif name in TAKES or name in TAKES_MARKED:
            base = marks.pop() if name in TAKES_MARKED else len(stack) - TAKES[name]
            taken = stack[base:]
            del stack[base:]
            if name in ("SETITEM", "SETITEMS") and any(key != 1 for key in taken[::2]):
                raise NotPlain("a key is not a name")
            if name in ("REDUCE", "NEWOBJ") and not (taken[0] in CALLS or taken == [EMPTY, 1]):
                raise NotPlain("it calls for something else than tensors")
            if name not in FILLS:
                stack.append(_joined(taken))
        elif name not in ("PROTO", "STOP"):
            raise NotPlain(f"the step {name} makes no tensor")


def _joined(parts: list[Value]) -> int:
    count = 1 + sum(part if isinstance(part, int) else 1 for part in parts)
    if count > MOST_PARTS:
        raise NotPlain("a tuple is too large")
    return count
