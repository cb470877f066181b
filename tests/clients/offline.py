"""Runs a client that may talk to this machine and to nobody else.

    offline.py program.py arguments...        offline.py -m module arguments...

Any other address ends the client with NotAllowed, also where it would have been a name to look up.
"""

from __future__ import annotations

import runpy
import sys

LOCAL = ("127.0.0.1", "localhost", "::1", None, "")


class NotAllowed(BaseException):
    """A BaseException, so that no client can take it for a server that is down."""


def watch(event: str, arguments: tuple) -> None:
    if event == "socket.getaddrinfo":
        host = arguments[0]
    elif event in ("socket.connect", "socket.sendto") and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    else:
        return
    host = host.decode() if isinstance(host, bytes) else host
    if host not in LOCAL:
        raise NotAllowed(f"{sys.argv[0]} asked for {host}")


def main() -> None:
    sys.addaudithook(watch)
    if sys.argv[1] == "-m":
        sys.argv[:] = sys.argv[2:]
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv[:] = sys.argv[1:]
        runpy.run_path(sys.argv[0], run_name="__main__")


main()
