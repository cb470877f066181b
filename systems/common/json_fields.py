"""Lists that people and programs write as JSON text into a node's field."""

from __future__ import annotations

import json

from .errors import InputError


def read_list(text: str, name: str, example: str) -> list:
    """The entries of a JSON list, all numbers as floats; blank text is an empty list.

    `name` is a plural that an error begins with. Raises InputError with one sentence for anything else.
    """
    like = f"write them like {example}"
    if not isinstance(text, str):
        raise InputError(f"The {name} are a {type(text).__name__}, not JSON text; {like}.")
    if not text.strip():
        return []
    try:
        entries = json.loads(text, parse_int=float)  # an integer of any length is a number
    except json.JSONDecodeError as error:
        reason = f"{error.msg} at character {error.pos + 1}"
        raise InputError(f"The {name} are not JSON text ({reason}); {like}.") from None
    except RecursionError:
        raise InputError(f"The {name} are lists in lists without end; {like}.") from None
    if not isinstance(entries, list):
        raise InputError(f"The {name} are a JSON {kind(entries)}, not a list; {like}.")
    return entries


def check_count(entries: list, name: str, most: int) -> None:
    """Raise InputError for more than `most` entries."""
    if len(entries) > most:
        raise InputError(f"There are {len(entries)} {name}, and {most} is the most; leave some out.")


def kind(value: object) -> str:
    """What JSON calls a value."""
    names = {dict: "object", list: "list", str: "text", bool: "true/false", type(None): "null"}
    return names.get(type(value), "number")
