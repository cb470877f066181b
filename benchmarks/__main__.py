"""Run all benchmarks, or the ones named on the command line."""

from __future__ import annotations

import argparse

from . import annotators, encoder, focus, imports, memory, segmentation

BENCHMARKS = {
    "imports": imports,
    "memory": memory,
    "encoder": encoder,
    "focus": focus,
    "segmentation": segmentation,
    "annotators": annotators,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="dev.py bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}; all without a name")
    names = parser.parse_args().names
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"there is no benchmark {unknown[0]!r}; choose from {', '.join(BENCHMARKS)}")
    for name in names or BENCHMARKS:
        print(BENCHMARKS[name].run(), flush=True)


if __name__ == "__main__":
    main()
