"""What modules import, read from their source."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path


def imports_of(root: Path, package: str) -> dict[str, set[str]]:
    """The absolute names that each module of a package in the folder `root` imports, also inside functions and for
    types alone."""
    names = {}
    for path in sorted((root / package).rglob("*.py")):
        module = ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
        names[module] = set(_imported(path, module))
    return names


def _imported(path: Path, module: str) -> Iterator[str]:
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    for statement in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(statement, ast.Import):
            yield from (each.name for each in statement.names)
        elif isinstance(statement, ast.ImportFrom):
            above = package[: len(package) - statement.level + 1] if statement.level else []
            base = ".".join([*above, *([statement.module] if statement.module else [])])
            yield base
            yield from (f"{base}.{each.name}" for each in statement.names)
