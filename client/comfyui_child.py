"""ComfyUI's main.py in this process, which ends when it is of no more use: when the program that started it is gone,
however that ended, or when ComfyUI's prompt worker is, without which every prompt would wait for ever.

  python comfyui_child.py '["what to remove if the program that started it is gone", ...]' ComfyUI/main.py --port 8188

That program holds the other end of our standard input. Standard library only.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import runpy
import shutil
import sys
import threading
from collections.abc import Sequence

# The end of the name of the thread that runs ComfyUI's prompts.
WORKER = "(prompt_worker)"
# The exit status when that thread has ended.
WORKER_DIED = 70


def main() -> None:
    leftovers, script = json.loads(sys.argv[1]), sys.argv[2]
    pipe = os.dup(0)
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
    threading.Thread(target=_end_with_starter, args=(pipe, leftovers), daemon=True).start()
    threading.excepthook = _end_with_worker
    logging.setLogRecordFactory(_Record)
    logging.raiseExceptions = False  # a line that the output cannot encode all the same ends no thread
    sys.argv[:] = sys.argv[2:]
    ours = os.path.dirname(os.path.realpath(__file__))  # has modules named as some of ComfyUI's
    others = (entry for entry in sys.path if os.path.realpath(entry) != ours)
    sys.path[:] = [os.path.dirname(script), *others]
    runpy.run_path(script, run_name="__main__")


class _Record(logging.LogRecord):
    """A line that UTF-8 can encode, also when it tells of a name that is not text."""

    def getMessage(self) -> str:
        return super().getMessage().encode(errors="backslashreplace").decode()


def _end_with_starter(pipe: int, leftovers: Sequence[str]) -> None:
    """Wait until the starter closes the other end of the pipe, then end."""
    with contextlib.suppress(OSError):
        while os.read(pipe, 1):
            pass
    for path in leftovers:
        shutil.rmtree(path, ignore_errors=True)
        with contextlib.suppress(OSError):  # a file, or nothing any more
            os.unlink(path)
    os._exit(1)


def _end_with_worker(args: threading.ExceptHookArgs) -> None:
    """Show how a thread has failed, and end if it was ComfyUI's prompt worker."""
    worker = args.thread is not None and args.thread.name.endswith(WORKER)
    try:
        threading.__excepthook__(args)
        sys.stderr.flush()
    finally:
        if worker:
            os.write(2, b"\nComfyUI's prompt worker has died, and this server with it.\n")
            os._exit(WORKER_DIED)


if __name__ == "__main__":
    main()
