"""Pictures and masks made fit for FLUX, against a plain statement of the published steps."""

from __future__ import annotations

import math

import comfy.utils
import numpy as np
import pytest
import torch
from PIL import Image
from sentences import one_sentence

from systems.common.errors import InputError
from systems.common.images import PICTURE, prepare, prepare_mask, thumbnail
from systems.common.sizes import PUBLISHED_SIZES, fitted_sizes, output_size

SIZES = [
    (1024, 1024),
    (1025, 1023),
    (4032, 3024),
    (301, 197),
    (192, 128),
    (17, 16),
    (6000, 700),
    (2000, 90),
    (1050, 1000),
]


def noise(width: int, height: int, channels: int = 3) -> torch.Tensor:
    """8-bit noise as an IMAGE [1, H, W, C]."""
    values = np.random.RandomState(width * height).randint(0, 256, (1, height, width, channels), dtype=np.uint8)
    return torch.from_numpy(values).float() / 255


def published(picture: Image.Image) -> Image.Image:
    """Within 1.05 million pixels and to multiples of 8, then to multiples of 16, by LANCZOS."""
    width, height = picture.size
    scale = math.sqrt(1050000 / (width * height)) if width * height > 1050000 else 1
    eights = [int(edge * scale) - int(edge * scale) % 8 for edge in (width, height)]
    if eights != [width, height]:
        picture = picture.resize(eights, Image.Resampling.LANCZOS)
    sixteens = [edge - edge % 16 for edge in eights]
    return picture if sixteens == eights else picture.resize(sixteens, Image.Resampling.LANCZOS)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_the_published_sizes_and_pixels(size):
    image = noise(*size)
    wanted = np.asarray(published(Image.fromarray((image[0] * 255).round().byte().numpy())), dtype=np.float32) / 255
    prepared = prepare(image, PICTURE, 1024)
    assert prepared.shape[1:3] == wanted.shape[:2] and not (prepared.shape[1] % 16 or prepared.shape[2] % 16)
    assert prepared.shape[1] * prepared.shape[2] <= 1050000
    assert torch.equal(prepared[0], torch.from_numpy(wanted))


def test_one_resize_instead_of_two_is_seen():
    image = noise(301, 197)
    once = Image.fromarray((image[0] * 255).round().byte().numpy()).resize((288, 192), Image.Resampling.LANCZOS)
    prepared = prepare(image, PICTURE, 1024)
    assert prepared.shape[1:3] == (192, 288)
    assert (prepared[0] - torch.from_numpy(np.asarray(once, dtype=np.float32) / 255)).abs().max() > 0.05


@pytest.mark.parametrize("side", [64, 128, 512, 1024, 2048])
def test_side_sets_the_area(side):
    (_, _), (width, height) = fitted_sizes(4000, 3000, side)
    assert 0.7 < width * height / (1050000 * (side / 1024) ** 2) <= 1
    assert fitted_sizes(side, side, side)[1] == (side, side)


def test_small_pictures_are_not_enlarged():
    assert fitted_sizes(120, 90) == ((120, 88), (112, 80))


@pytest.mark.parametrize("ratio", PUBLISHED_SIZES)
@pytest.mark.parametrize("size", [(640, 480), (100, 900)], ids=str)
def test_a_ratio_crops_the_middle(ratio, size):
    """A picture of three bands keeps its middle one; the result has the published size."""
    image = torch.zeros(1, size[1], size[0], 3)
    middle = (
        image[:, size[1] // 3 : -(size[1] // 3)] if size[1] > size[0] else image[:, :, size[0] // 3 : -(size[0] // 3)]
    )
    middle[:] = 1
    prepared = prepare(image, ratio, 256)
    width, height = output_size(ratio, 256)
    assert prepared.shape == (1, height, width, 3)
    assert prepared[0, height // 2, width // 2].min() == 1
    mirrored = prepared.flip(1).flip(2)
    assert (prepared - mirrored).abs().mean() < 0.02


def test_a_mask_follows_its_picture():
    """Whatever shape the picture takes, the mask of its bright part covers that part to a block's width."""
    image = torch.zeros(1, 300, 500, 3)
    image[:, 60:200, 150:380] = 1
    for ratio, side in ((PICTURE, 1024), ("1:1", 256), ("16:9", 512), ("3:4", 256)):
        picture = prepare(image, ratio, side)
        mask = prepare_mask(image[..., 0], image, ratio, side)
        assert mask.shape == picture.shape[:3]
        differing = (mask != (picture[..., 0] >= 0.5)).float().mean()
        assert differing < 0.06, (ratio, side)


@pytest.mark.parametrize("height, width", [(64, 64), (10, 333), (128, 192), (900, 2)])
@pytest.mark.parametrize("ratio", [PICTURE, "9:16"])
def test_a_mask_of_another_size_is_stretched(height, width, ratio):
    mask = torch.zeros(1, height, width)
    mask[:, : height // 2] = 1
    image = torch.zeros(1, 128, 192, 3)
    prepared = prepare_mask(mask, image, ratio, 1024)
    assert prepared.shape == prepare(image, ratio, 1024).shape[:3]
    assert abs(prepared.mean() - 0.5) < 0.07 and prepared[0, 0].all() and not prepared[0, -1].any()


def test_a_mask_is_hard_and_one_value_a_block():
    soft = torch.linspace(0, 1, 192).expand(2, 128, 192)
    mask = prepare_mask(soft, torch.zeros(2, 128, 192, 3), PICTURE, 1024)
    assert mask.shape == (2, 128, 192) and set(mask.unique().tolist()) == {0.0, 1.0}
    blocks = mask.reshape(2, 16, 8, 24, 8)
    assert (blocks == blocks[:, :, :1, :, :1]).all()
    assert torch.equal(mask[0, 0], (torch.arange(192) // 8 * 8 >= 96).float())


@pytest.mark.parametrize("value, kept", [(127, False), (128, True)])
def test_the_cut_is_at_one_half(value, kept):
    mask, image = torch.full((1, 32, 32), value / 255), torch.zeros(1, 32, 32, 3)
    if kept:
        assert prepare_mask(mask, image, PICTURE, 1024).all()
    else:
        with pytest.raises(InputError, match="The mask is too faint: it is 0.498 at most"):
            prepare_mask(mask, image, PICTURE, 1024)


def painted(height: int, width: int, top: int, left: int, rows: int, columns: int) -> torch.Tensor:
    """A mask [1, height, width] that is white on a rectangle."""
    mask = torch.zeros(1, height, width)
    mask[:, top : top + rows, left : left + columns] = 1
    return mask


THIN = {
    "columns between the cells": (painted(128, 128, 0, 57, 128, 7), (128, 128), PICTURE, 1024, 16),
    "a spot between the cells": (painted(128, 128, 33, 41, 6, 6), (128, 128), PICTURE, 1024, 16),
    "a pixel": (painted(64, 64, 63, 63, 1, 1), (64, 64), PICTURE, 512, 16),
    "a line that shrinks away": (painted(2000, 3000, 1000, 0, 1, 3000), (2000, 3000), PICTURE, 512, 77),
    "a small mask stretched": (painted(64, 64, 33, 0, 1, 64), (128, 128), PICTURE, 1024, 16),
    "a large mask shrunk": (painted(1280, 1280, 645, 0, 1, 1280), (128, 128), PICTURE, 1024, 16),
    "in the cropped middle": (painted(400, 1000, 0, 510, 400, 3), (400, 1000), "1:1", 128, 50),
}


@pytest.mark.parametrize("mask, size, ratio, side, pixels", THIN.values(), ids=THIN)
def test_a_thin_mask_is_not_called_empty(mask, size, ratio, side, pixels):
    image = torch.zeros(1, *size, 3)
    with pytest.raises(InputError) as raised:
        prepare_mask(mask, image, ratio, side)
    sentence = one_sentence(raised.value)
    assert sentence.isascii() and "The mask is too thin" in sentence and f"at least {pixels} pixels" in sentence
    assert 0 < prepare_mask(mask, image, ratio, side, soft=True).max() < 1


@pytest.mark.parametrize(
    "size, ratio, side", [((128, 192), PICTURE, 128), ((900, 1200), PICTURE, 256), ((500, 700), "16:9", 256)]
)
def test_what_the_sentence_asks_for_is_enough(size, ratio, side):
    """Spots as broad as it says are never too thin, wherever they lie in the middle; those of 6 pixels may be."""
    image, random = torch.zeros(1, *size, 3), np.random.RandomState(0)

    def words(edge: int) -> str:
        top, left = (random.randint(length // 4, length * 3 // 4 - edge) for length in size)
        try:
            prepare_mask(painted(*size, top, left, edge, edge), image, ratio, side)
        except InputError as error:
            return str(error)
        return ""

    said = {sentence for sentence in (words(6) for _ in range(100)) if sentence}
    assert len(said) == 1
    pixels = int(next(iter(said)).split("at least ")[1].split()[0])
    assert not any(words(pixels) for _ in range(100))


@pytest.mark.parametrize("soft", [False, True])
def test_a_mask_beside_the_cropped_middle(soft):
    mask = painted(128, 512, 0, 0, 128, 64)
    with pytest.raises(InputError) as raised:
        prepare_mask(mask, torch.zeros(1, 128, 512, 3), "1:1", 128, soft)
    assert "outside the middle that aspect_ratio 1:1 keeps" in one_sentence(raised.value)
    assert prepare_mask(mask, torch.zeros(1, 128, 512, 3), PICTURE, 1024, soft)[0, :, :64].all()


def test_a_soft_mask_is_the_average_of_each_cell():
    """White stays exactly 1, black 0; what the latents get of it is that average again."""
    mask = torch.from_numpy(np.random.RandomState(0).randint(0, 256, (2, 128, 192))) / 255
    mask[:, :32], mask[:, 64:96] = 1, 0
    soft = prepare_mask(mask, torch.zeros(2, 128, 192, 3), PICTURE, 1024, soft=True)
    averages = mask.reshape(2, 16, 8, 24, 8).mean(dim=(2, 4))
    assert torch.equal(soft.reshape(2, 16, 8, 24, 8).amax((2, 4)), soft.reshape(2, 16, 8, 24, 8).amin((2, 4)))
    torch.testing.assert_close(soft[:, ::8, ::8], averages)
    assert (soft[:, :32] == 1).all() and (soft[:, 64:96] == 0).all()
    torch.testing.assert_close(comfy.utils.reshape_mask(soft, (2, 16, 16, 24))[:, 3], averages)


@pytest.mark.parametrize("ratio, side", [(PICTURE, 1024), ("1:1", 256), ("3:4", 256)])
def test_a_soft_mask_goes_the_way_of_its_picture(ratio, side):
    image = torch.linspace(0, 1, 500).expand(1, 300, 500)[..., None].expand(-1, -1, -1, 3)
    picture = prepare(image, ratio, side)
    soft = prepare_mask(image[..., 0], image, ratio, side, soft=True)
    assert soft.shape == picture.shape[:3] and len(soft.unique()) > 20
    assert (soft - picture[..., 0]).abs().max() < 0.05
    assert torch.equal(
        prepare_mask(image[..., 0], image, ratio, side),
        (picture[:, ::8, ::8, 0] >= 128 / 255).float().repeat_interleave(8, 1).repeat_interleave(8, 2),
    )


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_grey_and_alpha(channels):
    image = noise(64, 48, channels)
    prepared = prepare(image.repeat(3, 1, 1, 1), PICTURE, 1024)
    assert prepared.shape == (3, 48, 64, 3)
    assert torch.equal(prepared[2], image[0, ..., :3].expand(48, 64, 3))


def masked(mask: torch.Tensor, pictures: int = 1, **options: bool) -> torch.Tensor:
    return prepare_mask(mask, torch.zeros(pictures, 64, 64, 3), PICTURE, 1024, **options)


BAD = {
    "too narrow": (lambda: prepare(torch.zeros(1, 15, 400, 3), PICTURE, 1024), "needs 16 at least"),
    "too long": (lambda: prepare(torch.zeros(1, 20, 9000, 3), PICTURE, 128), "needs 16 at least"),
    "no picture": (lambda: prepare(torch.zeros(64, 64), PICTURE, 1024), "not batch, height, width, channels"),
    "empty batch": (lambda: prepare(torch.zeros(0, 64, 64, 3), PICTURE, 1024), "not batch, height, width, channels"),
    "NaN": (lambda: prepare(torch.full((1, 64, 64, 3), math.nan), PICTURE, 1024), "not numbers"),
    "infinity": (lambda: prepare(torch.full((1, 64, 64, 3), math.inf), PICTURE, 1024), "not numbers"),
    "black mask": (lambda: masked(torch.zeros(1, 64, 64)), "The mask is empty"),
    "faint mask": (lambda: masked(torch.eye(64)[None].roll(1, 2) * 0.4), "too faint: it is 0.400 at most"),
    "mask of a line": (lambda: masked(torch.eye(64)[None].roll(1, 2)), "too thin"),
    "one of two masks thin": (
        lambda: masked(torch.stack([torch.ones(64, 64), torch.eye(64).roll(1, 1)]), 2),
        "Mask 2 of 2 is too thin",
    ),
    "black soft mask": (lambda: masked(torch.zeros(1, 64, 64), soft=True), "The mask is empty"),
    "soft mask below what 8 bits hold": (lambda: masked(torch.full((1, 64, 64), 0.001), soft=True), "is empty"),
    "NaN mask": (lambda: masked(torch.full((1, 64, 64), math.nan)), "not numbers"),
    "mask of no area": (lambda: masked(torch.zeros(1, 0, 64)), "shape [1, 0, 64]"),
    "mask of channels": (lambda: masked(torch.zeros(1, 3, 64, 64)), "shape [1, 3, 64, 64]"),
    "one of two masks black": (
        lambda: masked(torch.stack([torch.ones(64, 64), torch.zeros(64, 64)]), 2),
        "Mask 2 of 2 is empty",
    ),
    "two masks for one picture": (lambda: masked(torch.ones(2, 64, 64)), "2 masks for 1 images"),
    "two masks for three": (lambda: masked(torch.ones(2, 64, 64), 3), "2 masks for 3 images"),
}


@pytest.mark.parametrize("act, words", BAD.values(), ids=BAD)
def test_what_cannot_be_prepared(act, words):
    with pytest.raises(InputError) as raised:
        act()
    assert words in one_sentence(raised.value)


@pytest.mark.parametrize("height, width, size", [(300, 200, (200, 300)), (2000, 1000, (256, 512)), (3, 5000, (512, 1))])
def test_thumbnail(height: int, width: int, size: tuple[int, int]) -> None:
    picture = torch.linspace(0, 1, width).expand(height, width)[..., None].expand(-1, -1, 3)
    made = thumbnail(picture, 512)
    assert made.mode == "RGB" and made.size == size
    columns = np.asarray(made, float).mean(axis=(0, 2)) / 255
    assert abs(columns.mean() - 0.5) < 0.01 and columns[0] < 0.01 and columns[-1] > 0.99
    assert thumbnail(picture[..., :1], 512).tobytes() == made.tobytes()
