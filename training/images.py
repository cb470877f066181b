"""Image files to learn from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from systems.common.errors import InputError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
# The orientations of Exif that exchange width and height.
SIDEWAYS = (5, 6, 7, 8)


def images_in(folder: Path) -> Iterator[Path]:
    """Every image below a folder by name, however deep, but none that is hidden or lies in a hidden folder."""
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.suffix.lower() in SUFFIXES and path.is_file() and not hidden:
            yield path


def open_image(path: Path, place: str) -> Image.Image:
    """An image as RGB, turned as its camera says; InputError, which names its place, when it cannot be read."""
    try:
        with Image.open(path) as file:
            image = ImageOps.exif_transpose(file)
            if image.mode.startswith("I"):  # 16 bits, which convert() would cut off at 255
                image = image.point(lambda value: value / 256, "L")
            return image.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise _unreadable(path, place, error, "put a whole image of its name and shape there") from None


def image_size(path: Path, place: str) -> tuple[int, int]:
    """(width, height) as `open_image` gives it, from the file's head alone."""
    try:
        with Image.open(path) as file:
            exif = Image.Image.getexif(file)  # a PNG's own would read all of it
            turned = exif.get(ExifTags.Base.Orientation, 1) in SIDEWAYS
            return file.size[::-1] if turned else file.size
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise _unreadable(path, place, error, "replace it, or take its row out") from None


def _unreadable(path: Path, place: str, error: Exception, remedy: str) -> InputError:
    reason = "it is no image" if isinstance(error, UnidentifiedImageError) else " ".join(str(error).split())
    return InputError(f"{path} ({place}) cannot be read ({reason.rstrip('.')}); {remedy}.")
