"""Run all benchmarks, or the ones named on the command line."""

from __future__ import annotations

import argparse
from pathlib import Path

from client.arguments import BUNDLED, checkpoint, folder, whole

from . import annotators, encoder, focus, imports, interrupts, memory, pictures, segmentation

BENCHMARKS = {
    "imports": imports.run,
    "memory": memory.run,
    "encoder": encoder.run,
    "interrupts": interrupts.run,
    "focus": focus.run,
    "segmentation": segmentation.run,
    "annotators": annotators.run,
    "pictures": pictures.run,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="dev.py bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}; all without a name")
    of_pictures = parser.add_argument_group("pictures", "Paths are relative to the repository.")
    of_pictures.add_argument(
        "--references", type=whole(8, 2000), default=200, metavar="N", help="held-out scenes (default: %(default)s)"
    )
    of_pictures.add_argument(
        "--checkpoint", type=checkpoint, default=BUNDLED, metavar="FOLDER", help="default: the embedded one"
    )
    of_pictures.add_argument("--sheets", type=folder, metavar="FOLDER", help="write contact sheets there")
    of_pictures.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"there is no benchmark {unknown[0]!r}; choose from {', '.join(BENCHMARKS)}")
    settings = {
        "pictures": {
            "references": options.references,
            "checkpoint": options.checkpoint,
            "sheets": options.sheets,
            "figures": options.json,
        }
    }
    for name in options.names or BENCHMARKS:
        print(BENCHMARKS[name](**settings.get(name, {})), flush=True)


if __name__ == "__main__":
    main()
