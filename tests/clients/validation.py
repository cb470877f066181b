"""comfy-test: its validation of saved workflows.

    validation.py OBJECT_INFO file...

Prints the errors as JSON, by file name.

`comfy-test run --level validation` of 0.4.15 counts the widgets of a saved workflow by the older spelling of choices
(see spelling.py), and takes MarkdownNote, which ComfyUI's frontend has and its server does not, for a missing node. So
its validator gets that spelling, and is told of the note.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from comfy_test.comfyui.validator import WorkflowValidation
from spelling import as_before

NOTE = {"name": "MarkdownNote", "input": {}, "output": [], "output_name": []}


def main(object_info: str, *files: str) -> None:
    nodes = json.loads(Path(object_info).read_text(encoding="utf-8"))
    validator = WorkflowValidation({**as_before(nodes), "MarkdownNote": NOTE})
    errors = {Path(file).name: [str(error) for error in validator.validate_file(Path(file)).errors] for file in files}
    print(json.dumps(errors))


main(*sys.argv[1:])
