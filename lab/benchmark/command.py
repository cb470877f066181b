"""The benchmark of images as `python3 dev.py bench pictures` runs it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from client.arguments import checkpoint, folder, whole
from systems.common.layout import DEMO


def add_options(parser: argparse.ArgumentParser) -> None:
    """The flags that `run` reads."""
    group = parser.add_argument_group("pictures", "Paths are relative to the repository.")
    group.add_argument(
        "--references", type=whole(8, 2000), default=200, metavar="N", help="held-out scenes (default: %(default)s)"
    )
    group.add_argument(
        "--checkpoint", type=checkpoint, default=DEMO.name, metavar="FOLDER", help="default: the embedded one"
    )
    group.add_argument("--sheets", type=folder, metavar="FOLDER", help="write contact sheets there")
    group.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")


def run(options: argparse.Namespace) -> str:
    """The scores as a table; what the options name is written besides."""
    from .checkpoint_server import checkpoint_server
    from .report import report, write_sheets
    from .rounds import Rounds

    def show(*sheet: object) -> None:
        if options.sheets:
            write_sheets(options.sheets, *sheet)

    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
    if options.sheets:
        options.sheets.mkdir(parents=True, exist_ok=True)
    with checkpoint_server(options.checkpoint) as server:
        figures = Rounds(server, options.references, show).figures()
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    return report(figures)
