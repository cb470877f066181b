"""Data sets of Qwen2VL-Flux: a folder of images, or metadata with a row for each."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from systems.common.errors import InputError
from systems.qwen2vl_flux.dots import Dot, parse_dots

from ..images import SUFFIXES, images_in
from ..tables import EXAMPLE, file_entry, read_table, text_entry

COLUMNS = ("image", "prompt", "reference", "focus")


@dataclass(frozen=True)
class Row:
    """image: the one that FLUX learns to make; reference: the one that guides it, often the same; focus: dots on the
    reference; prompt: words beside it, or none; place: where the row stands, for errors."""

    image: Path
    reference: Path
    prompt: str
    focus: tuple[Dot, ...]
    place: str


def read_rows(source: Path) -> list[Row]:
    """The rows of a folder (every image in it, however deep, by name) or of a .csv, .json or .jsonl file.

    Paths in metadata are relative to its own folder. Raises InputError, naming file and row, for whatever cannot be
    used; the images themselves are looked at later.
    """
    if source.is_dir():
        rows = [Row(path, path, "", (), f"of {source}") for path in images_in(source)]
        nothing = f"{source} holds no image ({', '.join(SUFFIXES)}); give a folder with images, or metadata."
    else:
        rows = [_row(source.parent, place, entries) for place, entries in read_table(source, COLUMNS)]
        nothing = f"{source} has no rows; write one for each image, like {EXAMPLE}."
    if not rows:
        raise InputError(nothing)
    return rows


def _row(folder: Path, place: str, entries: dict) -> Row:
    image = file_entry(folder, place, "image", entries)
    if image is None:
        raise InputError(f"{place} has no image; name its file in the column image.")
    reference = file_entry(folder, place, "reference", entries) or image
    return Row(image, reference, text_entry(place, "prompt", entries).strip(), _focus(place, entries), place)


def _focus(place: str, entries: dict) -> tuple[Dot, ...]:
    """Dots as GridDot Focus writes them: JSON text, or in JSON metadata also the list itself."""
    value = entries.get("focus")
    text = json.dumps(value) if isinstance(value, list) else text_entry(place, "focus", entries)
    try:
        return parse_dots(text)
    except InputError as error:
        raise InputError(f"focus of {place} cannot be read: {error}") from None
