"""What the embedded checkpoint makes of held-out scenes, through a real server and the pack's nodes, judged by
classical vision (judge.py). On two quiet cores, 200 references take half an hour."""

from __future__ import annotations

import json
from pathlib import Path


def run(references: int, checkpoint: str, sheets: Path | None = None, figures: Path | None = None) -> str:
    """The scores as a table. sheets: a folder for contact sheets; figures: a file for the numbers, as JSON."""
    from .report import report, write_sheets
    from .rounds import Rounds
    from .studio import studio

    def show(*sheet: object) -> None:
        if sheets:
            write_sheets(sheets, *sheet)

    if figures:
        figures.parent.mkdir(parents=True, exist_ok=True)
    if sheets:
        sheets.mkdir(parents=True, exist_ok=True)
    with studio(checkpoint) as opened:
        found = Rounds(opened, references, show).figures()
    if figures:
        figures.write_text(json.dumps(found, indent=2) + "\n")
    return report(found)
