"""Pictures that the panels show before the first run, against what ComfyUI's Load Image gives to other nodes."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import urlopen

import folder_paths
import numpy as np
import pytest
from pack import module
from PIL import Image, ImageOps

from client.server import ComfyServer

ADDRESS, SIDE = module("nodes.loaded_pictures").ADDRESS, module("nodes.loaded_pictures").SIDE
ORIENTATION = 0x0112
CORNERS = ("red", "green", "blue", "white")


@pytest.fixture
def folder(server: ComfyServer) -> Iterator[Path]:
    """The server's input folder, which Load Image in this process reads too."""
    folder = server.log.parent / "input"
    before = folder_paths.get_input_directory()
    folder_paths.set_input_directory(str(folder))
    yield folder
    folder_paths.set_input_directory(before)


def corners(size: tuple[int, int] = (96, 64), mode: str = "RGB") -> Image.Image:
    """A picture with a colour in each corner."""
    picture = Image.new("RGB", size)
    middle = size[0] // 2, size[1] // 2
    for index, colour in enumerate(CORNERS):
        left, top = (index % 2) * middle[0], (index // 2) * middle[1]
        picture.paste(colour, (left, top, left + middle[0], top + middle[1]))
    return picture.convert(mode)


def shown(server: ComfyServer, size: tuple[int, int] | None = None, **file: str) -> np.ndarray:
    """The picture of a file; `size` is its own, left out where it is shown as it is."""
    with urlopen(f"{server.url}{ADDRESS}?{urlencode(file)}") as answer:
        assert answer.headers["Content-Type"] == "image/jpeg"
        pixels = np.asarray(Image.open(io.BytesIO(answer.read())))
    width, height = size or (pixels.shape[1], pixels.shape[0])
    assert answer.headers["Picture-Size"] == f"{width}x{height}"
    return pixels


def loaded(name: str) -> np.ndarray:
    """As other nodes get it."""
    from nodes import LoadImage

    return (LoadImage().load_image(name)[0][0].numpy() * 255).round().astype(np.uint8)


def still(path: Path, picture: Image.Image, exif: Image.Exif) -> None:
    picture.save(path, exif=exif, **({"lossless": True} if path.suffix == ".webp" else {}))


def animated(path: Path, picture: Image.Image, exif: Image.Exif) -> None:
    second = Image.new(picture.mode, picture.size, "yellow")
    picture.save(path, exif=exif, save_all=True, append_images=[second], duration=100, lossless=True)


KINDS = {
    "turned.png": ("RGB", still),
    "turned.webp": ("RGB", still),
    "turned.jpg": ("RGB", still),
    "transparent.png": ("RGBA", still),
    "grey.png": ("L", still),
    "palette.png": ("P", still),
    "animated.webp": ("RGB", animated),
    "turned.tiff": ("RGB", still),
}


@pytest.mark.parametrize("name", KINDS)
def test_every_orientation_as_load_image_has_it(server: ComfyServer, folder: Path, name: str) -> None:
    mode, save = KINDS[name]
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[ORIENTATION] = orientation
        path = folder / f"{orientation}_{name}"
        save(path, corners(mode=mode), exif)
        picture, wanted = shown(server, filename=path.name, type="input"), loaded(path.name)
        assert picture.shape == wanted.shape
        assert np.abs(picture.astype(int) - wanted).mean() < 6  # of a JPEG
        if name == "animated.webp":  # of which Load Image lets PIL make what it is
            whole = np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB"))
            assert np.abs(picture.astype(int) - whole).mean() < 6


def test_folders_names_and_sizes(server: ComfyServer, folder: Path) -> None:
    (folder / "sub" / "folder").mkdir(parents=True)
    for place, name in (("sub/folder", "a b#?&'.png"), ("clipspace", "painted [1].png"), ("", "wide.png")):
        (folder / place).mkdir(exist_ok=True)
        corners((3000, 40)).save(folder / place / name)
        picture = shown(server, (3000, 40), filename=name, subfolder=place, type="input")
        assert picture.shape == (round(40 * SIDE / 3000), SIDE, 3)


def secret(folder: Path) -> dict[str, str]:
    corners().save(folder.parent / "secret.png")
    return {"filename": "../secret.png"}


def secret_beside(folder: Path) -> dict[str, str]:
    (folder.parent / "input_of_others").mkdir(exist_ok=True)
    corners().save(folder.parent / "input_of_others" / "secret.png")
    return {"filename": "secret.png", "subfolder": "../input_of_others"}


def absolute(folder: Path) -> dict[str, str]:
    return {"filename": str(folder.parent / secret(folder)["filename"][3:])}


def text(folder: Path) -> dict[str, str]:
    (folder / "text.png").write_text("no picture")
    return {"filename": "text.png"}


def cut_short(folder: Path) -> dict[str, str]:
    corners((640, 640)).save(folder / "whole.png")
    (folder / "short.png").write_bytes((folder / "whole.png").read_bytes()[:20])
    return {"filename": "short.png"}


def enormous(folder: Path) -> dict[str, str]:
    Image.new("1", (20_000, 20_000)).save(folder / "enormous.png")
    return {"filename": "enormous.png"}


def many_frames(folder: Path) -> dict[str, str]:
    frames = [Image.new("P", (4096, 4096), colour) for colour in range(6)]
    frames[0].save(folder / "long.gif", save_all=True, append_images=frames[1:])
    return {"filename": "long.gif"}


NOT_FOUND: list[Callable[[Path], dict[str, str]]] = [
    secret, secret_beside, absolute, text, cut_short, enormous, many_frames,
    lambda folder: {}, lambda folder: {"filename": "gone.png"}, lambda folder: {"filename": "\0"},
    lambda folder: {"filename": "."}, lambda folder: {"filename": "x.png", "type": "models"},
]  # fmt: skip


@pytest.mark.parametrize("make", NOT_FOUND)
def test_what_is_no_picture_there_is_not_found(
    server: ComfyServer, folder: Path, make: Callable[[Path], dict[str, str]]
) -> None:
    with pytest.raises(HTTPError) as said:
        shown(server, **make(folder))
    assert said.value.code == 404
