"""The folder that images are written into. Standard library only."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from .installation import Problem


def check_folder(folder: Path) -> None:
    """Find out by trying whether the folder can be made and written into; what was made for it is removed again.
    Raises Problem."""
    missing = [place for place in (folder, *folder.parents) if not os.path.exists(place)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        if not os.path.isdir(folder):
            raise Problem(f"the folder {folder} cannot be made ({error.strerror})") from None
        raise Problem(f"nothing can be written into the folder {folder} ({error.strerror})") from None
    finally:
        for place in missing:
            with contextlib.suppress(OSError):  # it was not made, or somebody else has put something into it
                place.rmdir()


def write_picture(folder: Path, stem: str, data: bytes) -> Path:
    """Write an image under a name that is free: stem.png, stem_2.png, ... The folder is made when it is not there,
    and what interrupts this (Ctrl-C among it) leaves no half image. Raises Problem."""
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    number = 1
    while True:
        path = folder / (f"{stem}.png" if number == 1 else f"{stem}_{number}.png")
        with _writing(path):
            try:
                file = open(path, "xb")
            except FileExistsError:
                number += 1
                continue
            try:
                with file:
                    file.write(data)
            except BaseException:
                path.unlink()
                raise
        return path


def write_file(path: Path, data: bytes) -> None:
    """Write a file, over one that is there. Raises Problem."""
    with _writing(path):
        path.write_bytes(data)


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Where a path is written: an error becomes a sentence that names it, which a full disk's own does not."""
    try:
        yield
    except OSError as error:
        raise Problem(f"{path} cannot be written ({error.strerror})") from None
