"""Patches in `transformer_options`, added to a copy: the MODEL's own options are shared by all its clones."""

from __future__ import annotations

from collections.abc import Callable


def with_patch(transformer_options: dict, kind: str, patch: Callable, first: bool = False) -> dict:
    """The options with one patch more of a kind such as `attn1_patch`, behind all others or before them."""
    patches = transformer_options.get("patches", {})
    others = patches.get(kind, [])
    listed = [patch, *others] if first else [*others, patch]
    return {**transformer_options, "patches": {**patches, kind: listed}}
