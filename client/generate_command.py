"""generate.py: which system's command it runs. Standard library only, until the command's own work begins."""

from __future__ import annotations

import sys

from .command import PROGRAM
from .console import console
from .qwen2vl_flux import command as qwen2vl_flux


def main() -> None:
    with console(PROGRAM):
        qwen2vl_flux.main(sys.argv[1:])
