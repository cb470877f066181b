"""Tensor names from one layout to another."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

Renaming = Sequence[tuple[re.Pattern[str], str]]


def renaming(rules: Iterable[tuple[str, str]]) -> Renaming:
    """Rules (regular expression, replacement), each of which works on what the ones before it have left."""
    return tuple((re.compile(pattern), new) for pattern, new in rules)


def rename(name: str, rules: Renaming) -> str:
    """The name after all rules."""
    for pattern, new in rules:
        name = pattern.sub(new, name)
    return name
