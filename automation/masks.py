"""Mask files as the published script reads them: any picture in shades of grey, its colours weighed as PIL does."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

from PIL import ExifTags, Image, ImageOps

GREYS = ("1", "L")  # PIL's modes


def grey_mask(path: Path) -> bytes | None:
    """A mask file as a grey PNG of 8 bits, or None when it is one already. It is turned as its EXIF entry says, as
    ComfyUI turns the picture, and its transparency does not count. Raises ValueError with one sentence."""
    try:
        with warnings.catch_warnings(), Image.open(path) as picture:
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            plain = picture.mode in GREYS and "transparency" not in picture.info
            if picture.format == "PNG" and plain and picture.getexif().get(ExifTags.Base.Orientation, 1) == 1:
                return None
            turned = ImageOps.exif_transpose(picture)
            if turned.mode.startswith("I"):  # 16 bits, which PIL would cut at 255
                turned = turned.point(lambda value: value * (1 / 257) + 0.5)
            made = io.BytesIO()
            turned.convert("L").save(made, "PNG")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} is not a picture that can be read as a mask ({error})") from None
    return made.getvalue()
