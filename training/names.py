"""Tensors by dotted names, such as those of a state dict."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor


def within(values: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The entries whose names begin with a prefix, without it."""
    return {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}
