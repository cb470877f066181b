"""Which files below a folder are opened, by whomever, as Linux's inotify tells it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
from collections.abc import Iterator
from pathlib import Path

IN_OPEN, IN_ISDIR = 0x20, 0x40000000
EVENT = struct.Struct("iIII")


@contextlib.contextmanager
def opened_files(root: Path) -> Iterator[set[str]]:
    """Names, relative to `root`, of the files that were opened while the context was entered; filled on leaving."""
    libc = ctypes.CDLL(None, use_errno=True)
    handle = libc.inotify_init1(os.O_NONBLOCK)
    if handle < 0:
        raise OSError(ctypes.get_errno(), "inotify is not to be had")
    opened: set[str] = set()
    try:
        folders = {
            libc.inotify_add_watch(handle, os.fsencode(place), IN_OPEN): Path(place) for place, *_ in os.walk(root)
        }
        yield opened
        while True:
            try:
                data = os.read(handle, 1 << 16)
            except BlockingIOError:
                break
            while data:
                watch, mask, _, length = EVENT.unpack_from(data)
                name = os.fsdecode(data[EVENT.size : EVENT.size + length].rstrip(b"\0"))
                data = data[EVENT.size + length :]
                if name and not mask & IN_ISDIR:
                    opened.add((folders[watch] / name).relative_to(root).as_posix())
    finally:
        os.close(handle)
