"""The contact sheet: the reference, the focus map drawn over it, and the variations, each with its label."""

from __future__ import annotations

import math
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

CELL = 288
MARGIN, GAP, LABEL = 28, 14, 26
PAPER, INK, FAINT, ACCENT = "#faf9f7", "#26241f", "#8a857c", "#ff7a1a"

Labelled = tuple[str, Image.Image]


def contact_sheet(title: str, subtitle: str, left: Sequence[Labelled], variations: Sequence[Labelled]) -> Image.Image:
    """Lay out `left` (reference, focus map), if there is any, as a column of its own beside a grid of `variations`.

    Pictures of any size are fitted into cells of one width, small ones enlarged; no cell is higher than it is wide, or
    than the highest picture needs.
    """
    left, variations = (
        [(label, _fitted(picture.convert("RGB"))) for label, picture in part] for part in (left, variations)
    )
    high = max(picture.height for _, picture in (*left, *variations))
    rows = max(len(left), round(math.sqrt(len(variations) / 1.6 * CELL / high)))
    columns = math.ceil(len(variations) / rows)
    header = 64
    step, row_step = CELL + GAP, high + LABEL + GAP
    indent = step + GAP if left else 0
    width = 2 * MARGIN + indent + columns * step - GAP
    height = header + rows * row_step + MARGIN
    sheet = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    available = width - 2 * MARGIN
    draw.text((MARGIN, 18), _shortened(title, _font(20), available), INK, _font(20))
    draw.text((MARGIN, 44), _shortened(subtitle, _font(13), available), FAINT, _font(13))

    def place(labelled: Labelled, x: int, row: int) -> None:
        label, picture = labelled
        y = header + GAP + row * row_step
        sheet.paste(picture, (x + (CELL - picture.width) // 2, y + (high - picture.height) // 2))
        draw.text((x, y + high + 6), _shortened(label, _font(14), CELL), INK, _font(14))

    for row, each in enumerate(left):
        place(each, MARGIN, row)
    for index, each in enumerate(variations):
        row, column = divmod(index, columns)
        place(each, MARGIN + indent + column * step, row)
    return sheet


def focus_overlay(reference: Image.Image, focus: Image.Image, circle: tuple[float, float, float]) -> Image.Image:
    """The reference with what the focus map (bright: kept) leaves out dimmed, cell by cell as the tokens see it, and
    the circle (x, y, radius relative to width, height and the shorter side) drawn on top."""
    picture = _fitted(reference.convert("RGB"))
    kept = focus.convert("L").resize(picture.size, Image.Resampling.NEAREST)
    dimmed = Image.blend(picture.convert("L").convert("RGB"), Image.new("RGB", picture.size, PAPER), 0.72)
    picture = Image.composite(picture, dimmed, kept)
    scale = 4  # drawn large and reduced: ImageDraw does not smooth its edges
    ring = Image.new("L", (picture.width * scale, picture.height * scale))
    x, y, radius = circle
    x, y, radius = x * ring.width, y * ring.height, radius * min(ring.size)
    ImageDraw.Draw(ring).ellipse((x - radius, y - radius, x + radius, y + radius), outline=255, width=3 * scale)
    picture.paste(ACCENT, mask=ring.resize(picture.size, Image.Resampling.LANCZOS))
    return picture


def _fitted(picture: Image.Image) -> Image.Image:
    scale = CELL / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.resize(size, Image.Resampling.LANCZOS)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _shortened(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."
