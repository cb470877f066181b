"""Data sets: what a row says, and every way in which it can be wrong, in one sentence."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from PIL import Image

from systems.common.errors import InputError
from systems.qwen2vl_flux.dots import Dot
from training.images import image_size, open_image
from training.qwen2vl_flux.rows import read_rows

DOTS = '[{"x": 0.3, "y": 0.5, "r": 0.4, "w": 1}]'


@pytest.fixture
def folder(tmp_path) -> Path:
    """a.png, and b.png in a folder in it."""
    (tmp_path / "more").mkdir()
    Image.new("RGB", (32, 16), "red").save(tmp_path / "a.png")
    Image.new("RGB", (16, 32), "blue").save(tmp_path / "more" / "b.png")
    return tmp_path


def write(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_folder(folder):
    write(folder, "notes.txt", "not a picture")
    write(folder, ".hidden.png", "not to be seen")
    rows = read_rows(folder)
    assert [row.image.name for row in rows] == ["a.png", "b.png"]
    assert all(row.reference == row.image and row.prompt == "" and row.focus == () for row in rows)


CSV = f"""image,prompt,reference,focus
a.png,"a box, red",,
more/b.png,,a.png,"{DOTS.replace('"', '""')}"
"""
OBJECTS = [
    {"image": "a.png", "prompt": "a box, red"},
    {"image": "more/b.png", "reference": "a.png", "focus": json.loads(DOTS)},
]
TABLES = {
    "rows.csv": CSV,
    "marked.csv": b"\xef\xbb\xbf" + CSV.replace("\n", "\r\n").encode(),  # as spreadsheets save it
    "rows.json": json.dumps(OBJECTS),
    "rows.jsonl": "\n".join(map(json.dumps, OBJECTS)) + "\n\n",
    "text.jsonl": "\n".join(
        json.dumps({**entries, "focus": DOTS if "focus" in entries else None}) for entries in OBJECTS
    ),
}


@pytest.mark.parametrize("name", TABLES)
def test_metadata(folder, name):
    one, two = read_rows(write(folder, name, TABLES[name]))
    assert (one.image, one.reference, one.prompt, one.focus) == (folder / "a.png", folder / "a.png", "a box, red", ())
    assert (two.image, two.reference, two.prompt) == (folder / "more/b.png", folder / "a.png", "")
    assert two.focus == (Dot(0.3, 0.5, 0.4, 1.0),)


WRONG = {
    "empty.csv": ("", r"empty\.csv has no rows; write one for each image"),
    "heads.csv": ("image,prompt\n", r"heads\.csv has no rows"),
    "column.csv": (
        "picture\na.png\n",
        r"column\.csv line 2 has an unknown column 'picture'; a row knows image, prompt",
    ),
    "missing.jsonl": ('{"prompt": "a"}', r"missing\.jsonl line 1 has no image; name its file in the column image"),
    "blank.csv": ("image,prompt\n,words\n", r"blank\.csv line 2 has no image"),
    "gone.jsonl": (
        '{"image": "a.png"}\n{"image": "c.png"}',
        r"image of gone\.jsonl line 2 is c\.png, and there is no file",
    ),
    "other.json": (
        '[{"image": "a.png", "reference": "c.png"}]',
        r"reference of other\.json row 1 is c\.png, and there is",
    ),
    "folder.json": ('[{"image": "more"}]', r"image of folder\.json row 1 is more, and there is no file"),
    "number.json": ('[{"image": 3}]', r"image of number\.json row 1 is 3, not text"),
    "commas.csv": ("image,prompt\na.png,a box, red\n", r"commas\.csv line 2 has not 2 values.*quotes"),
    "short.csv": ("image,prompt\na.png\n", r"short\.csv line 2 has not 2 values"),
    "quote.csv": ('image,prompt\na.png,"a" box\n', r"quote\.csv is no CSV table after line 1 \(.*\); check its quotes"),
    "latin.csv": (
        "image,prompt\na.png,café\n".encode("latin-1"),
        r"latin\.csv is not UTF-8 text \(line 2\); save it as",
    ),
    "broken.jsonl": ('{"image": "a.png"}\n{"image"', r"broken\.jsonl line 2 is not JSON \(.*\); write rows like"),
    "broken.json": ('[{"image": "a.png"},', r"broken\.json is not JSON"),
    "object.json": ('{"image": "a.png"}', r"object\.json is not a JSON list; write \["),
    "list.jsonl": ('["a.png"]', r"list\.jsonl line 1 is no JSON object; write rows like"),
    "dots.csv": ("image,focus\na.png,0.3\n", r"focus of dots\.csv line 2 cannot be read: The dots are a JSON number"),
    "dot.json": (
        '[{"image": "a.png", "focus": [{"x": 2, "y": 0}]}]',
        r"focus of dot\.json row 1 cannot be read: x of dot 1",
    ),
    "rows.xlsx": ("", r"rows\.xlsx is neither a folder nor one of \.csv, \.json, \.jsonl"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_metadata(folder, name):
    text, sentence = WRONG[name]
    with pytest.raises(InputError, match=sentence) as raised:
        read_rows(write(folder, name, text))
    assert "\n" not in str(raised.value) and str(raised.value).endswith(".")


def test_nothing_there(tmp_path):
    with pytest.raises(InputError, match=r"holds no image \(\.jpg, .*\); give a folder with images, or metadata\.$"):
        read_rows(tmp_path)
    with pytest.raises(InputError, match=r"^There is no .*gone\.csv; give a folder of images, or metadata\.$"):
        read_rows(tmp_path / "gone.csv")


def broken(folder: Path) -> dict[str, Path]:
    whole = (folder / "a.png").read_bytes()
    return {
        "cut": write(folder, "cut.png", whole[: len(whole) // 2]),
        "text": write(folder, "text.png", "not a picture"),
        "empty": write(folder, "empty.png", ""),
    }


@pytest.mark.parametrize("kind", ["cut", "text", "empty"])
def test_broken_pictures(folder, kind):
    """Met in mid-run, when the rows must stay as they are, or at the start, when they need not."""
    path = broken(folder)[kind]
    for read, remedy in (
        (open_image, "put a whole image of its name and shape there"),
        (image_size, "replace it, or take its row out"),
    ):
        if kind == "cut" and read is image_size:
            assert read(path, "row 7") == image_size(folder / "a.png", "row 7")  # its head is whole
            continue
        with pytest.raises(InputError, match=rf"{kind}\.png \(row 7\) cannot be read \(.*\); {remedy}\.$"):
            read(path, "row 7")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root reads everything")
def test_no_permission(folder):
    (folder / "a.png").chmod(0)
    with pytest.raises(InputError, match=r"a\.png \(row 1\) cannot be read \(.*[Pp]ermission"):
        image_size(folder / "a.png", "row 1")


def test_kinds_of_pictures(folder):
    """Turned by its camera, with transparency, of 16 bits, in shades of grey: all come as RGB the right way up."""
    turned = Image.new("RGB", (40, 20), "red")
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(folder / "turned.jpg", exif=exif)
    Image.new("RGBA", (8, 8), (10, 20, 30, 0)).save(folder / "clear.png")
    Image.new("I;16", (8, 8), 128 * 256).save(folder / "deep.png")
    Image.new("L", (8, 8), 77).save(folder / "grey.png")
    assert image_size(folder / "turned.jpg", "") == (20, 40) == open_image(folder / "turned.jpg", "").size
    for name, colour in (("clear", (10, 20, 30)), ("deep", (128, 128, 128)), ("grey", (77, 77, 77))):
        picture = open_image(folder / f"{name}.png", "")
        assert picture.mode == "RGB" and picture.getpixel((4, 4)) == colour
