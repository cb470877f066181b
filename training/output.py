"""The folder that a run writes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from systems.common.errors import InputError


class Output:
    """checkpoints/step-<n>, samples/step-<n>.png, log.jsonl and curve.png of one run."""

    def __init__(self, root: Path):
        self.root = root
        self.log = root / "log.jsonl"
        self.curve = root / "curve.png"
        self.samples = root / "samples"
        self.checkpoints = root / "checkpoints"

    @contextmanager
    def claim(self) -> Iterator[None]:
        """Make the folder and keep other runs out for a while, or until the process ends.

        Raises InputError when it cannot be written, or when another run is at work in it.
        """
        lock = FileLock(self.root / ".lock", blocking=False)
        try:
            for folder in (self.samples, self.checkpoints):
                folder.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except Timeout:
            raise InputError(
                f"Another run is at work in {self.root}; let it end, or give this one a folder of its own."
            ) from None
        except OSError as error:
            raise InputError(
                f"{self.root} cannot be written ({error.strerror or error}); give a folder that can."
            ) from None
        try:
            yield
        finally:
            lock.release()

    @property
    def is_begun(self) -> bool:
        """Whether a run has left something here."""
        return self.log.exists() or self.newest() is not None

    def checkpoint(self, step: int) -> Path:
        """Where the checkpoint after so many steps belongs."""
        return self.checkpoints / f"step-{step:06d}"

    def whole(self) -> list[tuple[int, Path]]:
        """The whole checkpoints with their numbers of steps, the oldest first."""
        return sorted(
            (int(path.name[5:]), path) for path in self.checkpoints.glob("step-*") if path.name[5:].isdecimal()
        )

    def newest(self) -> tuple[int, Path] | None:
        """The last whole checkpoint and its number of steps."""
        return max(self.whole(), default=None)

    def partial(self) -> list[Path]:
        """Checkpoints that a stopped run left unfinished."""
        return sorted(self.checkpoints.glob(".step-*"))


def settled(path: Path) -> None:
    """Make sure that a file of one's own, or a folder, is on the disk."""
    windows = os.name == "nt"
    if windows and path.is_dir():  # which Windows neither opens nor needs opened
        return
    handle = os.open(path, os.O_RDWR if windows else os.O_RDONLY)  # Windows settles only what may be written
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
