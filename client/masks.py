"""Mask files as the published script reads them: any image in shades of grey, its colours weighed as PIL does."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

from PIL import Image, ImageOps


def grey_mask(path: Path) -> bytes:
    """A mask file as a PNG of 8 bits in shades of grey. It is turned as its EXIF entry says, as ComfyUI turns the
    image, and its transparency does not count. Raises ValueError with one sentence."""
    made = io.BytesIO()
    try:
        with warnings.catch_warnings(), Image.open(path) as picture:
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            turned = ImageOps.exif_transpose(picture)
            if turned.mode.startswith("I"):  # 16 bits, which PIL would cut at 255
                turned = turned.point(lambda value: value * (1 / 257) + 0.5)
            # with three channels: a file of one ComfyUI reads up to a level too dark, 128 as 127 and thus not painted
            turned.convert("L").convert("RGB").save(made, "PNG")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} is not an image that can be read as a mask ({error})") from None
    return made.getvalue()
