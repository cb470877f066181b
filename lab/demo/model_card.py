"""How the embedded checkpoint's FLUX learned, for its model card."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from training.curve import draw_curve
from training.output import Output
from training.progress import read_log

# The step at which the curve begins; the fall before it would flatten all the rest.
FIRST_STEP = 500
# The number of images in a line of a preview sheet, of which the reference and SHOWN variations are taken.
COLUMNS, SHOWN = 7, 3
SPACE = 24


def write(folder: Path, runs: Sequence[Path]) -> None:
    """curve.png and samples.jpg of runs that went on from each other."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        log = Path(scratch, "log.jsonl")
        log.write_text("".join(json.dumps(line) + "\n" for line in joined(runs)))
        draw_curve(log, folder / "curve.png", "flow")
    samples(runs).save(folder / "samples.jpg", quality=82, optimize=True)


def joined(runs: Sequence[Path]) -> list[dict]:
    """The lines of all logs, steps counted through, from FIRST_STEP on."""
    lines, before = [], 0
    for run in runs:
        own = [{**line, "step": line["step"] + before} for line in read_log(Output(run).log)]
        lines, before = lines + own, own[-1]["step"]
    return [line for line in lines if line["step"] >= FIRST_STEP]


def samples(runs: Sequence[Path]) -> Image.Image:
    """The same references, each with variations after the first preview and at the end of every run."""
    sheets = [sorted(Output(run).samples.glob("*.png")) for run in runs]
    chosen = [Image.open(path) for path in (sheets[0][0], *(each[-1] for each in sheets))]
    width, height = chosen[0].size
    cell = width // COLUMNS
    block = SHOWN * cell
    made = Image.new("RGB", (cell + len(chosen) * (SPACE + block), height), "white")
    made.paste(chosen[0].crop((0, 0, cell, height)), (0, 0))
    for number, sheet in enumerate(chosen):
        made.paste(sheet.crop((cell, 0, cell + block, height)), (cell + SPACE + number * (SPACE + block), 0))
    return made
