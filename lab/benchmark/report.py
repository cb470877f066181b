"""The figures as a table to read, and images as contact sheets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from client.sheet import contact_sheet

from .held_out import TRAINED_ON

# The number of rows on a contact sheet.
A_SHEET = 40
WHITE_GAP = 4
NAMES = {
    "background": "background",
    "pattern": "pattern",
    "palette": "set of colours",
    "recall": "objects found again (shape and colour)",
    "precision": "objects drawn that belong there",
    "stripes": "of those found, striped or solid as they should be",
    "count": "number of objects",
    "exact": "exact set of objects",
    "exact of 1": "  of one object",
    "exact of 2": "  of two objects",
    "exact of 3": "  of three objects",
}
FOCUS = {
    "without": "no focus",
    "scale": "scale, as published",
    "drop": "drop",
    "attention": "attention",
    "published": "scale, by a mask of the published arithmetic",
}
WIDTH = 52


def report(figures: dict) -> str:
    """All figures in lines; see rounds.Rounds.figures."""
    effort = figures["effort"]
    columns = ("pictures", "chance", "autoencoder", "renders")
    rates = ("strict", "present", "other_absent", "alone")
    lines = [
        f"{figures['drawn']} variations each of {figures['references']} held-out references at {figures['steps']} "
        f"steps, guidance {figures['guidance']}; {figures['met']:.0%} of what is in them",
        f"(not where) is among {TRAINED_ON} random scenes, as many as lab/demo draws for FLUX",
        _line("", ("images", *columns[1:])),
        *(
            _line(title, [_percent(figures["variation"][column][name]) for column in columns])
            for name, title in NAMES.items()
        ),
        "  chance: judged by the other references; autoencoder, renders: the judge on images that are right",
        "",
        _line("focus on one of two objects", ("strict", "it is there", "other colour gone", "alone")),
        *(_line(title, [_percent(figures["focus"][name][rate]) for rate in rates]) for name, title in FOCUS.items()),
        "  strict: it is there, and the other's colour gone; alone: nothing else is there at all",
        f"  the node's map differs from the published arithmetic by {figures['focus']['map error']:.4f} at most",
        "",
        _line(f"four seeds, {figures['diversity']['objects']} objects found in all", ("images", "chance")),
        *(
            _line(title, [_number(figures["diversity"][column][name]) for column in ("pictures", "chance")])
            for name, title in (("cells", "different cells"), ("distance", "distance, in lengths of a side"))
        ),
        "",
        _line("exact set of objects", list(figures["shapes"]["pictures"])),
        *(
            _line(title, [_percent(share) for share in figures["shapes"][name].values()])
            for name, title in (("pictures", "images of this shape"), ("references", "references of this shape"))
        ),
        "",
        *_modes(figures["modes"]),
        "",
        f"an image takes {effort['seconds']:.2f} s; the server has {effort['memory'] / 2**30:.2f} GiB at most, "
        f"{effort['added'] / 2**20:.0f} MiB more than between images",
    ]
    return "\n".join(lines)


def _modes(figures: dict) -> list[str]:
    return [
        _line(f"in all modes, {figures['references']} images each", ("exact set", "in place")),
        *(
            _line(title, [_percent(rates["exact"]), _percent(rates.get("in place"))])
            for title, rates in figures["rates"].items()
        ),
        "  in place: objects found again where the input image (inpaint: what was under its mask), or what the "
        "ControlNet sees, has them",
    ]


def write_sheets(folder: Path, name: str, rows: Sequence[Sequence[Image.Image]], remarks: Sequence[str]) -> None:
    """Sheets <name>_<number>.png: the images of each row side by side, with a remark below."""
    pairs = [(remark, _beside(row)) for row, remark in zip(rows, remarks, strict=True)]
    for number, start in enumerate(range(0, len(pairs), A_SHEET), start=1):
        sheet = contact_sheet(name, "from the left: what was given, what was made", [], pairs[start : start + A_SHEET])
        sheet.save(folder / f"{name}_{number}.png")


def _beside(pictures: Sequence[Image.Image]) -> Image.Image:
    width = sum(picture.width for picture in pictures) + WHITE_GAP * (len(pictures) - 1)
    row = Image.new("RGB", (width, max(picture.height for picture in pictures)), "white")
    left = 0
    for picture in pictures:
        row.paste(picture, (left, 0))
        left += picture.width + WHITE_GAP
    return row


def _line(title: str, values: Sequence[str]) -> str:
    return f"{title:<{WIDTH}}" + "".join(f"{value:>{max(13, len(value) + 2)}}" for value in values)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"
