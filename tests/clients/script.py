"""comfy-script: prompts become Python, the Python builds them again and, if asked to, runs them.

    script.py URL FOLDER [--run] file...

Each file is a prompt in API form or a saved workflow. FOLDER gets <name>.py, the script; <name>.json, the prompt that
this script builds, in API form; and after --run the saved pictures as <name>_0.png, <name>_1.png ...

Two things in the transpiler of 0.6.1 are worked around here, both older than ComfyUI 0.30:
- It comments out a call whose outputs nobody takes. In ComfyUI 0.30 SaveImage and the previews have outputs, so that
  the call of each end of a graph needs its "# " taken off.
- It counts the widgets of a saved workflow by the older spelling of choices (see spelling.py) and knows ComfyUI's
  Note, but not its MarkdownNote; so it gets that spelling, and the output nodes as the ends to start from.
"""

from __future__ import annotations

import json
import re
import runpy
import sys
from pathlib import Path

from comfy_script import client
from comfy_script.runtime import Workflow, load, nodes
from comfy_script.runtime.data import ImageBatchResult
from comfy_script.transpile import WorkflowToScriptTranspiler
from spelling import as_before


def script_of(graph: dict, url: str) -> str:
    """The transpiled graph, calls of output nodes included."""
    transpiler = WorkflowToScriptTranspiler(graph, url)
    ends = None
    if "nodes" in graph:
        transpiler.nodes_info = as_before(transpiler.nodes_info)
        known = transpiler.nodes_info
        ends = [node["id"] for node in graph["nodes"] if known.get(node["type"], {}).get("output_node")]
    return re.sub(r"^# (?=_ = )", "", transpiler.to_script(ends), flags=re.MULTILINE)


def save(workflow: Workflow, folder: Path, name: str) -> None:
    """Run the workflow and keep what SaveImage saved."""
    for result in workflow.queue().wait():
        if isinstance(result, ImageBatchResult) and result._output["images"][0]["type"] == "output":
            for number, picture in enumerate(result.wait()):
                picture.save(folder / f"{name}_{number}.png")


def main(url: str, folder: Path, *files: str) -> None:
    run = files[0] == "--run"
    load(url, save_script_source=False)
    for path in map(Path, files[run:]):
        script = script_of(json.loads(path.read_text(encoding="utf-8")), url)
        module = folder / f"{path.stem}.py"
        module.write_text(script, encoding="utf-8")
        with Workflow(queue=False) as workflow:
            runpy.run_path(str(module), vars(nodes))
        built = json.dumps(workflow.api_format(), cls=client.WorkflowJSONEncoder)
        (folder / f"{path.stem}.json").write_text(built, encoding="utf-8")
        if run:
            save(workflow, folder, path.stem)


main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
