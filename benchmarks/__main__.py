"""Run all benchmarks, or the ones named on the command line."""

from __future__ import annotations

import argparse

from lab.benchmark import command as pictures

from . import annotators, encoder, focus, imports, interrupts, memory, segmentation

BENCHMARKS = {
    "imports": imports.run,
    "memory": memory.run,
    "encoder": encoder.run,
    "interrupts": interrupts.run,
    "focus": focus.run,
    "segmentation": segmentation.run,
    "annotators": annotators.run,
}
PICTURES = "pictures"


def main() -> None:
    names = [*BENCHMARKS, PICTURES]
    parser = argparse.ArgumentParser(prog="dev.py bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(names)}; all without a name")
    pictures.add_options(parser)
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in names]
    if unknown:
        parser.error(f"there is no benchmark {unknown[0]!r}; choose from {', '.join(names)}")
    for name in options.names or names:
        print(pictures.run(options) if name == PICTURES else BENCHMARKS[name](), flush=True)


if __name__ == "__main__":
    main()
