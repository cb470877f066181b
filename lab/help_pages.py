"""`python -m lab.help_pages`: the nodes' help pages in web/docs, in step with the schemas.

The title, the first sentences and the tables of inputs and outputs come from the schema, in Chinese from locales/zh;
all else on a page is written by hand and stays.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from client.comfy_client import ComfyClient
from client.server import ComfyServer, ServerFailed, default_comfyui, leave_on_terminate

ROOT = Path(__file__).resolve().parent.parent
LOG = ROOT / ".dev" / "help_pages.log"


@dataclass(frozen=True)
class Language:
    """What a page says around a node's own texts."""

    inputs: str
    outputs: str
    notes: str
    columns: tuple[str, str]
    # The names of what widgets take, by ComfyUI's types; what comes over a link goes by its type itself.
    kinds: Mapping[str, str]
    limits: str
    optional: str
    several: str
    colon: str


ENGLISH = Language(
    inputs="Inputs",
    outputs="Outputs",
    notes="Notes",
    columns=("Name", "What it is"),
    kinds={"COMBO": "list", "STRING": "text", "BOOLEAN": "switch", "INT": "whole number", "FLOAT": "number"},
    limits=", {min:g} to {max:g}",
    optional=", optional",
    several=", several",
    colon=": ",
)
CHINESE = Language(
    inputs="输入",
    outputs="输出",
    notes="提示",
    columns=("名称", "说明"),
    kinds={"COMBO": "列表", "STRING": "文本", "BOOLEAN": "开关", "INT": "整数", "FLOAT": "数值"},
    limits="，{min:g} 到 {max:g}",
    optional="，可选",
    several="，多个",
    colon="：",
)


def main() -> None:
    leave_on_terminate()
    print("Starting ComfyUI ...", flush=True)
    try:
        known = object_info()
    except ServerFailed as error:
        sys.exit(f"help: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
    chinese = json.loads((ROOT / "locales" / "zh" / "nodeDefs.json").read_text("utf-8"))
    for path, page in pages({name: known[name] for name in chinese}, chinese, ROOT / "web" / "docs"):
        if not path.exists() or path.read_text("utf-8") != page:
            path.parent.mkdir(exist_ok=True)
            path.write_text(page, "utf-8", newline="\n")
            print(path.relative_to(ROOT))


def object_info() -> dict[str, dict]:
    """What a ComfyUI with the pack answers at /object_info. Raises ServerFailed."""
    python = os.environ.get("COMFYUI_PYTHON", sys.executable)
    with tempfile.TemporaryDirectory() as scratch:
        folders = {f"{kind}_dir": Path(scratch, kind) for kind in ("output", "input", "temp", "user")}
        with ComfyServer(default_comfyui(), python, extra_args=["--disable-api-nodes"], log=LOG, **folders) as server:
            return ComfyClient(server.url).object_info()


def pages(nodes: Mapping[str, dict], chinese: Mapping[str, dict], folder: Path) -> Iterator[tuple[Path, str]]:
    """Each node's pages in a folder, by path, as they are to be; a new one has what the schema gives and no notes.

    nodes: by id, as in /object_info; chinese: their texts, as in locales/zh/nodeDefs.json.
    """
    for name, node in nodes.items():
        for path, words, language in (
            (folder / f"{name}.md", english_words(node), ENGLISH),
            (folder / name / "zh.md", chinese[name], CHINESE),
        ):
            written = path.read_text("utf-8") if path.exists() else empty_page(language)
            yield path, renew(written, node, words, language)


def english_words(node: dict) -> dict:
    """The texts of a node from /object_info in the format of nodeDefs.json."""
    outputs = enumerate(zip(node["output_name"], node["output_tooltips"], strict=True))
    return {
        "display_name": node["display_name"],
        "description": node["description"],
        "inputs": {
            name: {"name": name, "tooltip": options["tooltip"]} for name, (_, options) in inputs_of(node).items()
        },
        "outputs": {str(number): {"name": name, "tooltip": tooltip} for number, (name, tooltip) in outputs},
    }


def inputs_of(node: dict) -> dict[str, list]:
    """A node's inputs in the order in which it shows them, each as type and options."""
    return {**node["input"].get("required", {}), **node["input"].get("optional", {})}


def empty_page(language: Language) -> str:
    return f"\n\n\n\n## {language.inputs}\n\n## {language.outputs}\n\n## {language.notes}\n"


def renew(page: str, node: dict, words: dict, language: Language) -> str:
    """A page with the title, first sentences and tables that the schema has now."""
    _, _, _, written = page.split("\n", 3)
    opening, *sections = re.split("^## ", written, flags=re.MULTILINE)
    tables = {
        language.inputs: table(language, input_rows(node, words, language)),
        language.outputs: table(language, output_rows(node, words, language)),
    }
    titles = [section.partition("\n")[0] for section in sections]
    renewed = [
        f"{title}\n\n{tables[title]}\n" if title in tables else section
        for title, section in zip(titles, sections, strict=True)
    ]
    return "## ".join([f"# {words['display_name']}\n\n{words['description']}\n{opening}", *renewed])


def table(language: Language, rows: Iterator[tuple[str, str]]) -> str:
    lines = [language.columns, ("---", "---"), *rows]
    return "".join(f"| {name} | {text} |\n" for name, text in lines)


def input_rows(node: dict, words: dict, language: Language) -> Iterator[tuple[str, str]]:
    for name, (io_type, options) in inputs_of(node).items():
        kind = language.kinds.get(io_type, io_type)
        if "min" in options:
            kind += language.limits.format(**options)
        if name in node["input"].get("optional", {}):
            kind += language.optional
        yield row(name, kind, words["inputs"][name], language)


def output_rows(node: dict, words: dict, language: Language) -> Iterator[tuple[str, str]]:
    found = zip(node["output_name"], node["output"], node["output_is_list"], strict=True)
    for number, (name, io_type, is_list) in enumerate(found):
        kind = io_type + language.several if is_list else io_type
        yield row(name, kind, words["outputs"][str(number)], language)


def row(name: str, kind: str, words: dict, language: Language) -> tuple[str, str]:
    """A name as workflows and messages carry it, after the one in the reader's language if that is another; a text."""
    shown = f"`{name}`" if words["name"] == name else f"{words['name']} `{name}`"
    return shown, f"*{kind}*{language.colon}{words['tooltip']}"


if __name__ == "__main__":
    main()
