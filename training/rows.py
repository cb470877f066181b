"""Data sets: a folder of pictures, or metadata with a row for each."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from systems.common.errors import InputError
from systems.qwen2vl_flux.focus import Dot, parse_dots

COLUMNS = ("image", "prompt", "reference", "focus")
PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
TABLES = (".csv", ".json", ".jsonl")
# Orientations of Exif that exchange width and height.
SIDEWAYS = (5, 6, 7, 8)
EXAMPLE = '{"image": "photos/1.jpg", "prompt": "a winter evening"}'


@dataclass(frozen=True)
class Row:
    """image: the picture that FLUX learns to make; reference: the one that guides it, often the same; focus: dots on
    the reference; prompt: words beside it, or none; place: where the row stands, for errors."""

    image: Path
    reference: Path
    prompt: str
    focus: tuple[Dot, ...]
    place: str


def read_rows(source: Path) -> list[Row]:
    """The rows of a folder (every picture in it, however deep, by name) or of a .csv, .json or .jsonl file.

    Paths in metadata are relative to its own folder. Raises InputError, naming file and row, for whatever cannot be
    used; the pictures themselves are looked at later.
    """
    if source.is_dir():
        rows = list(_of_folder(source))
        nothing = f"{source} holds no picture ({', '.join(PICTURES)}); give a folder with pictures, or metadata."
    else:
        rows = [_row(source.parent, place, entries) for place, entries in _entries(source)]
        nothing = f"{source} has no rows; write one for each picture, like {EXAMPLE}."
    if not rows:
        raise InputError(nothing)
    return rows


def open_picture(path: Path, place: str) -> Image.Image:
    """A picture as RGB, turned as its camera says; InputError when it cannot be read."""
    try:
        with Image.open(path) as file:
            picture = ImageOps.exif_transpose(file)
            if picture.mode.startswith("I"):  # 16 bits, which convert() would cut off at 255
                picture = picture.point(lambda value: value / 256, "L")
            return picture.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise _broken(path, place, error, "put a whole picture of its name and shape there") from None


def picture_size(path: Path, place: str) -> tuple[int, int]:
    """(width, height) as `open_picture` gives it, from the file's head alone."""
    try:
        with Image.open(path) as file:
            exif = Image.Image.getexif(file)  # a PNG's own would read all of it
            turned = exif.get(ExifTags.Base.Orientation, 1) in SIDEWAYS
            return file.size[::-1] if turned else file.size
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise _broken(path, place, error, "replace it, or take its row out") from None


def _broken(path: Path, place: str, error: Exception, remedy: str) -> InputError:
    reason = "it is no picture" if isinstance(error, UnidentifiedImageError) else " ".join(str(error).split())
    return InputError(f"{path} ({place}) cannot be read ({reason.rstrip('.')}); {remedy}.")


def _of_folder(folder: Path) -> Iterator[Row]:
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.suffix.lower() in PICTURES and path.is_file() and not hidden:
            yield Row(path, path, "", (), f"of {folder}")


# ---- metadata --------------------------------------------------------------------------------------------------------


def _entries(source: Path) -> Iterator[tuple[str, dict]]:
    """(where it stands, columns by name) of each row."""
    kind = source.suffix.lower()
    if kind not in TABLES:
        raise InputError(
            f"{source} is neither a folder nor one of {', '.join(TABLES)}; give the pictures or their metadata."
        )
    try:
        text = source.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"There is no {source}; give a folder of pictures, or metadata.") from None
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


def _row(folder: Path, place: str, entries: object) -> Row:
    if not isinstance(entries, dict):
        raise InputError(f"{place} is no JSON object; write rows like {EXAMPLE}.")
    unknown = [str(name) for name in entries if name not in COLUMNS]
    if unknown:
        raise InputError(f"{place} has an unknown column {unknown[0][:40]!r}; a row knows {', '.join(COLUMNS)}.")
    image = _file(folder, place, "image", entries)
    if image is None:
        raise InputError(f"{place} has no image; name its picture in the column image.")
    prompt = _text(place, "prompt", entries).strip()
    return Row(image, _file(folder, place, "reference", entries) or image, prompt, _focus(place, entries), place)


def _text(place: str, name: str, entries: dict) -> str:
    value = entries.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InputError(f"{name} of {place} is {str(value)[:40]}, not text; put it into quotes.")
    return value


def _file(folder: Path, place: str, name: str, entries: dict) -> Path | None:
    text = _text(place, name, entries).strip()
    if not text:
        return None
    path = folder / text
    if not path.is_file():
        raise InputError(f"{name} of {place} is {text}, and there is no file {path}; paths are relative to {folder}.")
    return path


def _focus(place: str, entries: dict) -> tuple[Dot, ...]:
    """Dots as GridDot Focus writes them: JSON text, or in JSON metadata also the list itself."""
    value = entries.get("focus")
    text = json.dumps(value) if isinstance(value, list) else _text(place, "focus", entries)
    try:
        return parse_dots(text)
    except InputError as error:
        raise InputError(f"focus of {place} cannot be read: {error}") from None
