"""Metadata of data sets: rows of named columns in .csv, .json or .jsonl files."""

from __future__ import annotations

import csv
import json
from collections.abc import Collection, Iterator
from pathlib import Path

from systems.common.errors import InputError

SUFFIXES = (".csv", ".json", ".jsonl")
EXAMPLE = '{"image": "photos/1.jpg", "prompt": "a winter evening"}'


def read_table(source: Path, columns: Collection[str]) -> Iterator[tuple[str, dict]]:
    """(where it stands, its entries by column) of each row; InputError for a file that cannot be read, and for a row
    that is no object or has a column that is not among `columns`."""
    for place, entries in _entries(source):
        if not isinstance(entries, dict):
            raise InputError(f"{place} is no JSON object; write rows like {EXAMPLE}.")
        unknown = [str(name) for name in entries if name not in columns]
        if unknown:
            raise InputError(f"{place} has an unknown column {unknown[0][:40]!r}; a row knows {', '.join(columns)}.")
        yield place, entries


def text_entry(place: str, name: str, entries: dict) -> str:
    """A text of a row, blank where the column is missing; InputError for other values."""
    value = entries.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InputError(f"{name} of {place} is {str(value)[:40]}, not text; put it into quotes.")
    return value


def file_entry(folder: Path, place: str, name: str, entries: dict) -> Path | None:
    """A file that a row names by its path from `folder`, None where it names none; InputError where there is none."""
    text = text_entry(place, name, entries).strip()
    if not text:
        return None
    path = folder / text
    if not path.is_file():
        raise InputError(f"{name} of {place} is {text}, and there is no file {path}; paths are relative to {folder}.")
    return path


# ---- files -----------------------------------------------------------------------------------------------------------


def _entries(source: Path) -> Iterator[tuple[str, object]]:
    """(where it stands, what is there) of each row."""
    kind = source.suffix.lower()
    if kind not in SUFFIXES:
        raise InputError(
            f"{source} is neither a folder nor one of {', '.join(SUFFIXES)}; give the images or their metadata."
        )
    try:
        text = source.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"There is no {source}; give a folder of images, or metadata.") from None
    except UnicodeDecodeError as error:
        line = source.read_bytes()[: error.start].count(b"\n") + 1
        raise InputError(f"{source} is not UTF-8 text (line {line}); save it as UTF-8.") from None
    except OSError as error:
        raise InputError(f"{source} cannot be read ({error.strerror}); check the file and its permissions.") from None
    if kind == ".csv":
        yield from _of_csv(source, text)
    elif kind == ".jsonl":
        for number, line in enumerate(text.split("\n"), start=1):
            if line.strip():
                yield f"{source.name} line {number}", _json(line, f"{source} line {number}")
    else:
        listed = _json(text, str(source))
        if not isinstance(listed, list):
            raise InputError(f"{source} is not a JSON list; write [{EXAMPLE}, ...].")
        yield from ((f"{source.name} row {number}", entries) for number, entries in enumerate(listed, start=1))


def _of_csv(source: Path, text: str) -> Iterator[tuple[str, dict]]:
    try:
        table = csv.DictReader(text.splitlines(keepends=True), strict=True)
        for entries in table:
            place = f"{source.name} line {table.line_num}"
            if None in entries or None in entries.values():
                raise InputError(
                    f"{place} has not {len(table.fieldnames)} values, as the first line says; put a text with commas "
                    'into "quotes".'
                )
            yield place, entries
    except csv.Error as error:
        raise InputError(f"{source} is no CSV table after line {table.line_num} ({error}); check its quotes.") from None


def _json(text: str, place: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = f"{error.msg} at line {error.lineno}" if isinstance(error, json.JSONDecodeError) else "nested too deep"
        raise InputError(f"{place} is not JSON ({reason}); write rows like {EXAMPLE}.") from None
