"""Graphs made wrong on purpose."""

from __future__ import annotations

import copy
import json
import urllib.request

from client.qwen2vl_flux.graph import node


def history(server) -> set[str]:
    """Ids of the prompts that the server ran."""
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"{server.url}/history") as answer:
        return set(json.load(answer))


def changed(graph: dict, changes: dict[str, object]) -> dict:
    """The graph with changes: `focus.dots` is an input (`...` takes it out), a name without a dot a whole node."""
    graph = copy.deepcopy(graph)
    for place, value in changes.items():
        name, _, entry = place.partition(".")
        if not entry:
            graph[name] = copy.deepcopy(value)
        elif value is ...:
            del graph[name]["inputs"][entry]
        else:
            graph[name]["inputs"][entry] = value
    return graph


def shown(kind: str, *source: object) -> dict:
    """Something that makes the server run a node: a preview of it."""
    return node("PreviewAny", source=[*source]) if kind == "any" else node("PreviewImage", images=[*source])
