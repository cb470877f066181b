"""SAM 2 under ComfyUI's memory management, its answers to unusual pictures, and the overlay."""

from __future__ import annotations

import weakref
from collections.abc import Iterator

import comfy.model_management as mm
import pytest
import torch
from annotator_weights import write_sam2
from comfy.cli_args import args
from sentences import one_sentence
from tensor_memory import held

from systems.annotators.sam2 import annotator
from systems.annotators.sam2.annotator import CANDIDATES, Segmentation, load_sam2
from systems.annotators.sam2.overlay import overlay
from systems.annotators.sam2.points import Box, Point
from systems.common.errors import InputError

PICTURE = torch.rand(1, 40, 60, 3, generator=torch.Generator().manual_seed(0))
POINTS = [Point(0.4, 0.5), Point(0.8, 0.2, 0)]
FRAMES = [
    Box(0.1, 0.2, 0.6, 0.9),
    Box(0, 0, 1, 1),
    Box(0.3, 0.3, 0.301, 0.8),
    Box(0.5, 0.5, 0.501, 0.502),
    Box(0.98, 0, 1, 0.01),
]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return write_sam2(tmp_path_factory.mktemp("sam2") / "sam2_hiera_tiny.pt", version="2")


@pytest.fixture(scope="module")
def sam2(path):
    return load_sam2(path)


def segmented(sam2, image: torch.Tensor = PICTURE, points=POINTS, boxes=(), candidates="best") -> Segmentation:
    with torch.inference_mode():
        return sam2.segment(image, points, boxes, candidates)


def test_memory_goes_back_to_the_start(path):
    """After use nothing but the weights is held; without the model, nothing. transformers alone would keep 64 MB of
    position embeddings in a cache of its own."""
    start = held()
    sam2 = load_sam2(path)
    loaded = held()
    weights = sum(value.nbytes for value in sam2.network.state_dict().values())
    assert loaded - start == pytest.approx(weights, rel=1e-3)
    before = segmented(sam2)
    assert any(known.model is sam2.patcher for known in mm.current_loaded_models)
    mm.unload_all_models()
    assert not any(known.model is sam2.patcher for known in mm.current_loaded_models)
    assert sam2.patcher.loaded_size() == 0
    assert {value.device for value in sam2.network.state_dict().values()} == {sam2.patcher.offload_device}
    after = segmented(sam2)
    assert torch.equal(after.masks, before.masks) and after.scores == before.scores
    del before, after
    assert held() - loaded < 2**16
    network = weakref.ref(sam2.network)
    mm.unload_all_models()
    del sam2
    assert held() - start < 2**16
    assert network() is None


@pytest.mark.parametrize("candidates", CANDIDATES)
def test_boxes_take_no_memory_of_their_own(sam2, candidates):
    """While the fifth box is looked at, no more is held than at the third: there is one place for each output."""
    picture = PICTURE.repeat(1, 10, 10, 1)
    boxes = [Box(0.1 * number, 0.1, 0.1 * number + 0.2, 0.9) for number in range(5)]
    sizes = []
    hook = sam2.network.model.mask_decoder.register_forward_pre_hook(lambda *_: sizes.append(held()))
    try:
        found = segmented(sam2, picture, (), boxes, candidates)
    finally:
        hook.remove()
    assert len(sizes) == 5 and sizes[4] - sizes[2] < 400 * 600
    assert len(found.masks) == (1 if candidates == "best" else 3 * 5)


def test_outputs_are_of_the_intermediate_type(sam2, monkeypatch):
    full = segmented(sam2)
    assert full.masks.dtype == full.overlays.dtype == torch.float32
    monkeypatch.setattr(args, "fp16_intermediates", True)
    half = segmented(sam2)
    assert half.masks.dtype == half.overlays.dtype == torch.float16
    assert torch.equal(half.masks.float(), full.masks) and (half.overlays - full.overlays).abs().max() < 1e-3


def test_loading_draws_nothing_into_the_console(path, capfd):
    """Neither a progress bar nor a warning; who had progress bars has them afterwards."""
    from transformers.utils.logging import is_progress_bar_enabled

    assert is_progress_bar_enabled()
    load_sam2(path)
    assert capfd.readouterr() == ("", "")
    assert is_progress_bar_enabled()


def test_an_interrupt_stops_the_encoder(sam2):
    """In the middle of a picture, not only between nodes."""
    passed = []
    blocks = sam2.network.model.vision_encoder.backbone.blocks
    hooks = [
        blocks[1].register_forward_hook(lambda *_: mm.interrupt_current_processing()),
        blocks[3].register_forward_hook(lambda *_: passed.append("block 3")),
    ]
    try:
        with pytest.raises(mm.InterruptProcessingException):
            segmented(sam2)
    finally:
        for hook in hooks:
            hook.remove()
    assert not passed


@pytest.mark.parametrize("during, happened", [("decode", ["decode"]), ("draw", ["decode", "draw"])])
def test_an_interrupt_stops_between_prompts_and_masks(sam2, monkeypatch, during, happened):
    """What comes after a picture's encoder takes minutes of many boxes and of large pictures."""
    met = []

    def meet(what: str) -> None:
        met.append(what)
        if what == during:
            mm.interrupt_current_processing()

    def drawn(*given) -> torch.Tensor:
        meet("draw")
        return overlay(*given)

    monkeypatch.setattr(annotator, "overlay", drawn)
    hook = sam2.network.model.mask_decoder.register_forward_hook(lambda *_: meet("decode"))
    try:
        with pytest.raises(mm.InterruptProcessingException):
            segmented(sam2, PICTURE.repeat(2, 1, 1, 1), (), FRAMES, "all")
    finally:
        hook.remove()
    assert met == happened


@pytest.mark.parametrize("shape", [(1, 1, 1, 3), (1, 3, 500, 1), (1, 200, 2, 4)])
def test_unusual_pictures(sam2, shape):
    image = torch.rand(shape, generator=torch.Generator().manual_seed(1))
    found = segmented(sam2, image, candidates="all")
    assert found.masks.shape == (3, *shape[1:3]) and found.overlays.shape == (3, *shape[1:3], 3)
    assert set(found.masks.unique().tolist()) <= {0.0, 1.0}
    assert 0 <= found.overlays.min() and found.overlays.max() <= 1
    assert found.scores == sorted(found.scores, reverse=True) and len(set(found.scores)) == 3


NAN = torch.full((1, 8, 8, 3), float("nan"))
BAD = {
    "no prompt": (PICTURE, (), (), "neither points nor a box"),
    "nothing to keep": (PICTURE, (Point(0.5, 0.5, 0),), (), "All points have label 0"),
    "NaN": (NAN, POINTS, (), "values that are not numbers"),
    "infinity": (1 / torch.zeros(1, 8, 8, 3), POINTS, (), "values that are not numbers"),
    "no batch": (PICTURE[0], POINTS, (), "the shape [40, 60, 3]"),
    "an empty batch": (PICTURE[:0], POINTS, (), "the shape [0, 40, 60, 3]"),
    "no width": (PICTURE[:, :, :0], POINTS, (), "the shape [1, 40, 0, 3]"),
}


@pytest.mark.parametrize("image, points, boxes, thing", BAD.values(), ids=[name.replace(" ", "_") for name in BAD])
def test_bad_inputs(sam2, image, points, boxes, thing):
    with pytest.raises(InputError) as raised:
        segmented(sam2, image, points, boxes)
    assert thing in one_sentence(raised.value)


def changed(picture: torch.Tensor, drawn: torch.Tensor) -> torch.Tensor:
    """Where a picture was drawn on."""
    return (drawn != picture).any(dim=-1)


@pytest.mark.parametrize("height, width", [(256, 256), (40, 60), (600, 1000), (1, 1)])
def test_the_overlay_shows_the_mask(height, width):
    picture = torch.full((height, width, 3), 0.5)
    mask = torch.zeros(height, width)
    mask[height // 4 : height // 2, : width // 2] = 1
    drawn = overlay(picture, mask, (), ())
    assert drawn.shape == picture.shape and torch.equal(changed(picture, drawn), mask.bool())
    if height > 10:
        assert torch.equal(drawn[height // 4, width // 4], torch.ones(3)), "the outline is white"
        inner = drawn[3 * height // 8, width // 4]
        assert inner[2] > 0.6 > 0.5 > inner[0], "the inside is tinted blue"


def random_masks() -> Iterator[torch.Tensor]:
    """Noise, patches, and soft values, of sizes whose outlines are 1 to 4 pixels wide."""
    generator = torch.Generator().manual_seed(3)
    for height, width in [(1, 1), (1, 300), (40, 60), (256, 300), (700, 513), (1000, 1100)]:
        noise = torch.rand(height, width, generator=generator)
        patches = torch.rand(1, 1, 7, 9, generator=generator) > 0.5
        yield (noise > 0.3).float()
        yield torch.nn.functional.interpolate(patches.float(), (height, width))[0, 0]
        yield noise


@pytest.mark.parametrize("mask", [*random_masks()], ids=lambda mask: "x".join(map(str, mask.shape)))
def test_the_outline_is_a_square_filter(mask):
    """To the bit: white on what has anything beside the mask within a square around it."""
    picture = torch.rand(*mask.shape, 3, generator=torch.Generator().manual_seed(4))
    reach = round(max(min(mask.shape) / 256, 1))
    beside = torch.nn.functional.max_pool2d(1 - mask[None], 2 * reach + 1, stride=1, padding=reach)[0]
    expected = picture + (torch.tensor((0.12, 0.56, 1.0)) - picture) * (mask * 0.45)[..., None]
    expected = expected + (1 - expected) * (mask * beside)[..., None]
    assert torch.equal(overlay(picture, mask, (), ()), expected)


@pytest.mark.parametrize("height, width", [(256, 512), (600, 513), (3, 40), (1, 1)])
@pytest.mark.parametrize("box", FRAMES)
def test_a_frame_is_as_near_as_its_lines(box, height, width):
    """To the bit: each pixel by its distance to the rectangle's outline, however thin or near the border that is."""
    picture = torch.rand(height, width, 3, generator=torch.Generator().manual_seed(5))
    unit = max(min(height, width) / 256, 1.0)
    y, x = (torch.arange(edge) + 0.5 for edge in (height, width))
    beyond_x = torch.maximum(box.x0 * width - x, x - box.x1 * width)[None]
    beyond_y = torch.maximum(box.y0 * height - y, y - box.y1 * height)[:, None]
    outside = (beyond_x.clamp(min=0) ** 2 + beyond_y.clamp(min=0) ** 2).sqrt()
    away = torch.maximum(beyond_x, beyond_y).clamp(max=0).abs() + outside
    share = (unit - away + 0.5).clamp(0, 1)[..., None]
    expected = picture + (torch.tensor((1.0, 0.78, 0.16)) - picture) * share
    assert torch.equal(overlay(picture, torch.zeros(height, width), (), (box,)), expected)


def test_the_overlay_shows_points_and_boxes():
    picture = torch.full((256, 512, 3), 0.5)
    nothing = torch.zeros(256, 512)
    marked = overlay(picture, nothing, (Point(0.25, 0.5), Point(0.75, 0.5, 0)), ())
    rows, columns = torch.nonzero(changed(picture, marked), as_tuple=True)
    assert 121 <= rows.min() and rows.max() <= 134
    assert not ((columns > 135) & (columns < 377)).any()
    keep, leave_out = marked[125, 125], marked[125, 381]
    assert keep[1] > keep[0] and leave_out[0] > leave_out[1]
    assert marked[126, 128].min() > 0.5 and marked[126, 384].min() < 0.4, "a plus here, a minus there"
    framed = changed(picture, overlay(picture, nothing, (), (Box(0.25, 0.25, 0.5, 0.75),)))
    assert framed[64, 128:256].all() and framed[64:192, 128].all()
    assert not framed[70:186, 134:250].any() and not framed[:60].any() and not framed[:, 262:].any()


def test_marks_on_the_border_stay_inside():
    picture = torch.full((64, 64, 3), 0.5)
    corners = [Point(x, y, label) for x in (0.0, 1.0) for y in (0.0, 1.0) for label in (0, 1)]
    drawn = overlay(picture, torch.zeros(64, 64), corners, (Box(0, 0, 1, 1),))
    assert changed(picture, drawn)[[0, 0, 63, 63], [0, 63, 0, 63]].all()
    assert not changed(picture, drawn)[10:54, 10:54].any()
