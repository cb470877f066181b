"""What the server says of its nodes, in the spelling that clients of ComfyUI's first node API know."""

from __future__ import annotations


def as_before(object_info: dict) -> dict:
    """object_info with each choice as [[values...], {...}], where nodes of today's API say ["COMBO", {"options":
    [values...]}]. A client that counts a node's widgets by the older spelling alone passes over such a choice and reads
    every later value of a saved workflow for the one before it, in ComfyUI's own nodes as in ours."""
    return {name: {**node, "input": _inputs(node["input"])} for name, node in object_info.items()}


def _inputs(groups: dict) -> dict:
    return {
        group: {name: _choice(entry) for name, entry in entries.items()} if group != "hidden" else entries
        for group, entries in groups.items()
    }


def _choice(entry: list) -> list:
    if entry[0] != "COMBO":
        return entry
    return [entry[1].get("options", []), entry[1]]
