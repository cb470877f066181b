#!/usr/bin/env python3
"""Images with Qwen2VL-Flux from the command line; --help lists the flags.

  python3 generate.py --mode variation --input_image photo.jpg

Runs with any Python 3.10+: where that lacks what the client needs, ComfyUI's own interpreter takes over.
"""

from __future__ import annotations

import os
import sys


def main() -> None:
    if sys.version_info < (3, 10):  # noqa: UP036
        sys.exit(f"generate.py needs Python 3.10 or newer; this is {sys.version.split()[0]}.")
    try:
        import signal
        from pathlib import Path

        if os.name == "posix":  # the interpreter that handed over to this one held it back
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        sys.path.insert(0, str(Path(__file__).resolve().parent))  # Windows portable's interpreter leaves it out

        from client.generate_command import main as run

        run()
    except KeyboardInterrupt:  # at any time, also while modules are imported
        sys.exit(130)


if __name__ == "__main__":
    main()
