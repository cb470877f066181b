"""Prompts in ComfyUI's API form: nodes by their ids, of which an input's value may be a link to another's output."""

from __future__ import annotations

Prompt = dict[str, dict]
Link = list  # [node id, number of the output]


def node(class_type: str, **inputs: object) -> dict:
    """One entry of a prompt."""
    return {"class_type": class_type, "inputs": inputs}
