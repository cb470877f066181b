"""Stops within a node's work; the layers of comfy.ops look for an interrupt by themselves, all else does it here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

import comfy.model_management as mm

Item = TypeVar("Item")


def interruptible(items: Iterable[Item]) -> Iterator[Item]:
    """The items as they are; an interrupt raises ComfyUI's InterruptProcessingException before the next."""
    for item in items:
        mm.throw_exception_if_processing_interrupted()
        yield item
