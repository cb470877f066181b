"""How the programs of this repository end, and what they do about streams that are missing or gone. Standard library
only."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import NoReturn

from .arguments import sentence
from .installation import Problem


@contextlib.contextmanager
def console(program: str, failure: int = 1) -> Iterator[None]:
    """Where a program does its work: what goes wrong becomes one sentence and exit status `failure`, Ctrl-C 130, and
    output that nobody reads any more ends it with 1, in silence. A stream that was closed before takes what is printed,
    and one that cannot show a character shows its number."""
    _complete_streams()
    try:
        try:
            yield
        finally:
            _flush()
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        _leave_streams()
        sys.exit(1)
    except Problem as problem:
        fail(program, problem, failure)
    except OSError as error:
        fail(program, _sentence_of(error), failure)


def fail(program: str, problem: object, status: int = 1) -> NoReturn:
    """End the program with one sentence."""
    with contextlib.suppress(OSError):  # nobody reads that either
        print(f"{program}: {sentence(problem)}", file=sys.stderr, flush=True)
    _leave_streams()
    sys.exit(status)


def _sentence_of(error: OSError) -> str:
    if error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, FileNotFoundError):
        return "The folder you are in is gone; change to another one"
    try:
        _flush()  # what could not be printed cannot be now
    except Problem as problem:
        return str(problem)
    return f"The system says: {error.strerror}"


def _complete_streams() -> None:
    """Streams that were closed before we came take what is written and forget it; else a file opened later would get
    their number, and with it what programs started by us print."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            os.set_inheritable(number, True)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, closefd=False))
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")


def _flush() -> None:
    try:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise Problem(f"What it prints cannot be written ({error.strerror})") from None


def _leave_streams() -> None:
    """Forget what could not be written, which Python would try, and complain about, when it ends."""
    null = os.open(os.devnull, os.O_WRONLY)
    for number in (1, 2):
        os.dup2(null, number)
    os.close(null)
