"""A square of square tiles: four of a size, or five small ones around a large one."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont, ImageStat

from client.sheet import Labelled

SIDE, GAP = 600, 6
HALF, THIRD = (SIDE - GAP) // 2, (SIDE - 2 * GAP) // 3
NEXT, LAST = THIRD + GAP, 2 * (THIRD + GAP)

# A place on the sheet: left, top, and side, in pixels.
Place = tuple[int, int, int]
FOUR: tuple[Place, ...] = tuple((x, y, HALF) for y in (0, HALF + GAP) for x in (0, HALF + GAP))
SIX: tuple[Place, ...] = (
    *((x, 0, THIRD) for x in (0, NEXT, LAST)),
    *((0, y, THIRD) for y in (NEXT, LAST)),
    (NEXT, NEXT, SIDE - NEXT),
)
# The most inputs beside which four tiles are enough.
MOST_OF_FOUR = 2

SEAM, PLATE, TEXT = "#16181f", (22, 24, 31, 220), "#faf9f7"
FONT, BAND_FONT, BAND = 17, 34, 84
# The pixels from a label's plate to the border of its tile, and from its words to the plate's own.
OFF, PAD = 6, 7
# The deviation of the three colours below a label, up to which there is a pattern and no object.
RESTLESS = 64


def mosaic(inputs: Sequence[Labelled], results: Sequence[Image.Image], band: str = "") -> Image.Image:
    """The inputs, each with its label, then as many results as there is place for, the last one in the large tile if
    there is one; across all of them a band, if it says anything."""
    places = FOUR if len(inputs) <= MOST_OF_FOUR else SIX
    sheet = Image.new("RGB", (SIDE, SIDE), SEAM)
    tiles = [*inputs, *(("", picture) for picture in results)]
    for (x, y, side), (label, picture) in zip(places, tiles, strict=False):
        sheet.paste(picture.convert("RGB").resize((side, side), Image.Resampling.LANCZOS), (x, y))
        if label:
            _label(sheet, label, (x, y, side))
    if band:
        middle = SIDE // 2
        draw = ImageDraw.Draw(sheet)
        draw.rectangle((0, middle - BAND // 2, SIDE, middle + BAND // 2), fill=SEAM)
        draw.text((middle, middle), band, TEXT, ImageFont.load_default(BAND_FONT), anchor="mm")
    return sheet


def _label(sheet: Image.Image, label: str, place: Place) -> None:
    """Words on a plate in the first corner of a tile that is as calm as any."""
    font = ImageFont.load_default(FONT)
    draw = ImageDraw.Draw(sheet, "RGBA")
    left, top, right, bottom = draw.multiline_textbbox((0, 0), label, font)
    width, height = right - left + 2 * PAD, bottom - top + 2 * PAD
    x, y, side = place
    rows, columns = (y + OFF, y + side - OFF - height), (x + OFF, x + side - OFF - width)
    plates = [(column, row, column + width, row + height) for row, column in itertools.product(rows, columns)]
    plate = min(plates, key=lambda box: sum(ImageStat.Stat(sheet.crop(box)).stddev) // RESTLESS)
    draw.rounded_rectangle(plate, radius=PAD, fill=PLATE)
    draw.multiline_text((plate[0] + PAD - left, plate[1] + PAD - top), label, TEXT, font)
