"""The bundled workflows as tests meet them, and how two graphs are compared."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from client.catalogue import WORKFLOWS
from client.prompt import Prompt

FOLDER = Path(__file__).resolve().parent.parent / "workflows"
GRAPHS = {name: workflow.graph for name, workflow in WORKFLOWS.items()}
# Every graph as it runs where only small weights are.
RUNNABLE = {name: {**workflow.graph, **workflow.stand_ins} for name, workflow in WORKFLOWS.items()}
# Those that run as they are, on the checkpoint that comes with the pack.
ON_DEMO = [name for name, workflow in WORKFLOWS.items() if not workflow.needs]


def canonical(prompt: Prompt) -> tuple:
    """What a graph computes, free of node ids and titles: each end of the graph with everything that leads to it."""

    def written(node_id: str) -> tuple:
        inputs = prompt[node_id]["inputs"].items()
        return prompt[node_id]["class_type"], tuple(sorted((name, value(item)) for name, item in inputs))

    def value(item: object) -> tuple:
        if isinstance(item, list):
            return "link", item[1], *written(item[0])
        return "value", item

    used = {item[0] for entry in prompt.values() for item in entry["inputs"].values() if isinstance(item, list)}
    ends = sorted(written(node_id) for node_id in prompt if node_id not in used)
    return ends, Counter(entry["class_type"] for entry in prompt.values())


def only(prompt: Prompt, class_type: str) -> str:
    """The id of the one node of a type."""
    (found,) = (node_id for node_id, entry in prompt.items() if entry["class_type"] == class_type)
    return found
