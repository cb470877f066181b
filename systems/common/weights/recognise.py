"""Whose file it is, when it is not the one that was looked for."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from ..errors import quoted

# Pairs of a regular expression that some tensor's name of a model matches, and what to call that model.
Models = Iterable[tuple[str, str]]


def known_model(names: Collection[str], known: Models) -> str | None:
    """The first of the known models that has tensors of such names."""
    return next((model for pattern, model in known if any(re.search(pattern, name) for name in names)), None)


def other_model(names: Collection[str], known: Models) -> str:
    """What to call the model whose tensors have these names: a known one, or another, with one of its names."""
    if not names:
        return "no tensors"
    return known_model(names, known) or f"another model (with {quoted(min(names))})"
