"""What comes over a link, held against what the input declares.

ComfyUI compares what is typed into a node with its declaration before anything runs, but neither the number, text or
choice that another node gives, nor what a switch lets through. The nodes of this pack do so themselves.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Integral, Real

from comfy_api.latest import io

from ..systems.common.errors import InputError, plain, quoted
from .types import CHECKS

# The characters that a sentence spends on the options of a choice.
MAX_LISTED = 150


class CheckedNode(io.ComfyNode):
    """A node that runs on values its schema declares, and on no others: the base of every node of the pack."""

    @classmethod
    def EXECUTE_NORMALIZED(cls, **values: object) -> io.NodeOutput:
        return super().EXECUTE_NORMALIZED(**checked(cls.define_schema(), values))

    @classmethod
    async def EXECUTE_NORMALIZED_ASYNC(cls, **values: object) -> io.NodeOutput:
        return await super().EXECUTE_NORMALIZED_ASYNC(**checked(cls.define_schema(), values))


def checked(schema: io.Schema, values: Mapping[str, object]) -> dict[str, object]:
    """The values by input, less the optional ones that are None, which are as good as not connected.

    For a node that takes lists (`is_input_list`) each value is a list, and all in it are looked at. Raises InputError
    for the first value that its input does not take.
    """
    kept = dict(values)
    for item in schema.inputs:
        if item.id not in values:
            continue
        if item.optional and values[item.id] is None:
            del kept[item.id]
            continue
        for value in values[item.id] if schema.is_input_list else [values[item.id]]:
            fits, wanted = _compare(item, value)
            if not fits:
                raise InputError(
                    f"The input {item.id} of {schema.display_name} is {_in_words(value)}, not {wanted}; check the node "
                    "it comes from."
                )
    return kept


def _compare(item: io.Input, value: object) -> tuple[bool, str]:
    """Whether the input takes the value, and in words what it takes."""
    match item:
        case io.Boolean.Input():
            return isinstance(value, bool), "true or false"
        case io.String.Input():
            return isinstance(value, str), "a text"
        case io.Combo.Input():
            listed = ", ".join(item.options) or "none, for its list is empty"
            return isinstance(value, str) and value in item.options, f"one of {plain(listed, MAX_LISTED)}"
        case io.Int.Input():
            return _is_number(value, Integral, item), f"a whole number{_range(item)}"
        case io.Float.Input():
            return _is_number(value, Real, item), f"a number{_range(item)}"
    return CHECKS[item.io_type](value), item.io_type


def _is_number(value: object, kind: type, item: io.Int.Input | io.Float.Input) -> bool:
    if isinstance(value, bool) or not isinstance(value, kind) or not -math.inf < value < math.inf:
        return False
    return (item.min is None or value >= item.min) and (item.max is None or value <= item.max)


def _range(item: io.Int.Input | io.Float.Input) -> str:
    bounds = {" from": item.min, " to": item.max}
    return "".join(f"{word} {bound}" for word, bound in bounds.items() if bound is not None)


def _in_words(value: object) -> str:
    if value is None:
        return "empty"
    if isinstance(value, str):
        return f"the text {quoted(value)}"
    if isinstance(value, Real):
        return quoted(value)
    return f"of the kind {type(value).__name__}"
