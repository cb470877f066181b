"""SAM 2 through the real server: files found where other packs keep them, masks, overlays and scores, bad prompts."""

from __future__ import annotations

import io

import numpy as np
import pytest
from annotator_weights import write_sam2
from goldens import DATA
from PIL import Image
from sentences import one_sentence
from spoiling import changed, history

from client.comfy_client import ComfyClient, NodeFailed, PromptRejected
from client.qwen2vl_flux.graph import node

FILE = "converted/sam2.1_hiera_tiny.safetensors"
POINTS = '[{"x": 0.4, "y": 0.4}, {"x": 0.05, "y": 0.1, "label": 0}]'
ASKED = {"points": POINTS, "box": "", "candidates": "best"}
BOXES = "[[0.1, 0.1, 0.45, 0.9], [0.5, 0.2, 0.9, 0.8]]"


@pytest.fixture(scope="module")
def picture(server) -> str:
    """301 x 197."""
    return ComfyClient(server.url).upload_image(DATA / "img_crop_301x197.png")


@pytest.fixture(scope="module", autouse=True)
def files(server, sam2_folder):
    write_sam2(sam2_folder / FILE)
    (sam2_folder / "sam2_hiera_small.pt").write_bytes(b"")
    yield
    (sam2_folder / FILE).unlink()
    (sam2_folder / "sam2_hiera_small.pt").unlink()


@pytest.fixture
def graph(picture) -> dict:
    return {
        "image": node("LoadImage", image=picture),
        "sam2": node("Qwen2VLFluxSAM2Loader", file=FILE),
        "segment": node("Qwen2VLFluxSAM2Segment", sam2=["sam2", 0], image=["image", 0], **ASKED),
        "white": node("MaskToImage", mask=["segment", 0]),
        "mask": node("SaveImage", images=["white", 0], filename_prefix="mask"),
        "overlay": node("SaveImage", images=["segment", 1], filename_prefix="overlay"),
        "score": node("PreviewAny", source=["segment", 2]),
    }


def pictures(client, run, node_id: str) -> np.ndarray:
    """Saved pictures [B, H, W, 3]."""
    made = [client.fetch(image) for image in run.outputs[node_id]["images"]]
    return np.stack([np.asarray(Image.open(io.BytesIO(data)).convert("RGB")) for data in made])


def test_files_are_listed(client):
    options = client.object_info()["Qwen2VLFluxSAM2Loader"]["input"]["required"]["file"]
    listed = options[0] if isinstance(options[0], list) else options[1]["options"]
    assert FILE in listed and "sam2_hiera_small.pt" in listed


@pytest.mark.parametrize(
    "changes, count",
    [
        ({}, 1),
        ({"segment.candidates": "all"}, 3),
        ({"segment.box": BOXES}, 1),
        ({"segment.box": BOXES, "segment.points": "", "segment.candidates": "all"}, 6),
    ],
    ids=["points", "points-all", "boxes_and_points", "boxes-all"],
)
def test_masks_overlays_and_scores(client, graph, changes, count):
    run = client.run(changed(graph, changes))
    masks, overlays = pictures(client, run, "mask"), pictures(client, run, "overlay")
    assert masks.shape == overlays.shape == (count, 197, 301, 3)
    assert set(np.unique(masks)) == {0, 255}
    original = np.asarray(Image.open(DATA / "img_crop_301x197.png").convert("RGB")).astype(int)
    differs = (np.abs(overlays.astype(int) - original) > 2).any(axis=-1)
    assert differs[masks[..., 0] > 0].mean() > 0.9, "where the mask is white the overlay is tinted"
    assert differs[masks[..., 0] == 0].mean() < 0.2, "and elsewhere only points and boxes are drawn"
    scores = [float(text) for text in run.outputs["score"]["text"]]
    assert len(scores) == count and all(0 < score < 1 for score in scores)


@pytest.mark.parametrize(
    "fractions, pixels",
    [
        ({}, {"segment.points": '[{"x": 120.4, "y": 78.8}, {"x": 15.05, "y": 19.7, "label": 0}]'}),
        (
            {"segment.points": "", "segment.box": "[[0.25, 0.25, 0.5, 1], [0.5, 0, 1, 0.5]]"},
            {
                "segment.points": "",
                "segment.box": '[[75.25, 49.25, 150.5, 197], {"x": 150.5, "y": 0, "width": 150.5, "height": 98.5}]',
            },
        ),
    ],
    ids=["points", "boxes"],
)
def test_pixels_give_the_mask_of_fractions(client, graph, fractions, pixels):
    in_fractions = client.run(changed(graph, fractions | {"segment.coordinates": "fraction"}))
    in_pixels = client.run(changed(graph, pixels | {"segment.coordinates": "pixels"}))
    assert "segment" in in_pixels.executed
    assert np.array_equal(pictures(client, in_pixels, "mask"), pictures(client, in_fractions, "mask"))
    assert in_pixels.outputs["score"] == in_fractions.outputs["score"]


def test_pixels_outside_of_the_picture(client, graph):
    """Only the run knows how large the picture is."""
    outside = {"segment.coordinates": "pixels", "segment.points": '[{"x": 300, "y": 198}]'}
    with pytest.raises(NodeFailed) as raised:
        client.run(changed(graph, outside))
    assert raised.value.node_id == "segment"
    assert "Point 1 reaches to 300, 198, outside of the image of 301 x 197" in one_sentence(raised.value.message)


@pytest.mark.parametrize(
    "changes, thing",
    [
        ({"segment.coordinates": "percent"}, "There are no coordinates 'percent'"),
        ({"segment.coordinates": "pixels", "segment.points": '[{"x": -1, "y": 5}]'}, "x of point 1 is -1.0"),
        ({"segment.coordinates": "pixels", "segment.box": "[9, 9, 9, 20]"}, "Box 1 has no area"),
    ],
)
def test_bad_pixels_are_refused_before_anything_runs(client, server, graph, changes, thing):
    ran = history(server)
    with pytest.raises(PromptRejected) as raised:
        client.run(changed(graph, changes))
    assert {thing in complaint["details"] for complaint in raised.value.node_errors["segment"]["errors"]} == {True}
    assert history(server) == ran


def test_the_picture_of_a_moved_point_keeps_the_model(client, graph):
    client.run(graph)
    run = client.run(changed(graph, {"segment.points": '[{"x": 0.41, "y": 0.4}]'}))
    assert {"image", "sam2"} <= set(run.cached) and "segment" in run.executed


def test_a_batch(client, graph):
    """Each picture of it gets its own mask."""
    batch = {
        "other": node("ImageInvert", image=["image", 0]),
        "both": node("ImageBatch", image1=["image", 0], image2=["other", 0]),
        "segment.image": ["both", 0],
    }
    masks = pictures(client, client.run(changed(graph, batch)), "mask")
    alone = pictures(client, client.run(graph), "mask")
    assert masks.shape[0] == 2 and np.array_equal(masks[0], alone[0]) and not np.array_equal(masks[1], masks[0])


LIKE_POINTS, LIKE_BOX = 'like [{"x": 0.3', "like [0.1, 0.2"
BAD = {
    "neither": ({"segment.points": " "}, "There are neither points nor a box", LIKE_POINTS),
    "empty lists": ({"segment.points": "[]", "segment.box": "[]"}, "There are neither points nor a box", LIKE_BOX),
    "only label 0": ({"segment.points": '[{"x": 0.5, "y": 0.5, "label": 0}]'}, "All points have label 0", "a box"),
    "no JSON": ({"segment.points": "the dog"}, "The points are not JSON text", LIKE_POINTS),
    "an object": ({"segment.points": {"x": 0.5, "y": 0.5}}, "The points are not JSON text", LIKE_POINTS),
    "pixels": ({"segment.points": '[{"x": 150, "y": 90}]'}, "x of point 1 is 150.0", "from 0 to 1"),
    "a label": ({"segment.points": '[{"x": 0, "y": 0, "label": -1}]'}, "label of point 1 is -1.0", "1 (keep) or 0"),
    "a box of pixels": ({"segment.box": "[10, 10, 90, 90]"}, "x0 of box 1 is 10.0", "from 0 to 1"),
    "a box without area": ({"segment.box": "[0.5, 0.1, 0.5, 0.9]"}, "Box 1 has no area", "left must be below right"),
    "a box of three": ({"segment.box": "[0.5, 0.1, 0.5]"}, "Box 1 has 3 values, not 4", LIKE_BOX),
}


@pytest.mark.parametrize("changes, thing, remedy", BAD.values(), ids=[name.replace(" ", "_") for name in BAD])
def test_bad_prompts_are_refused_before_anything_runs(client, server, graph, changes, thing, remedy):
    ran = history(server)
    with pytest.raises(PromptRejected) as raised:
        client.run(changed(graph, changes))
    # ComfyUI says a custom validation's sentence once for every input that it looks at
    complaints = raised.value.node_errors["segment"]["errors"]
    assert [complaint["extra_info"]["input_name"] for complaint in complaints] == ["points", "box"]
    (sentence,) = {complaint["details"].partition(" - ")[2] for complaint in complaints}
    assert thing in one_sentence(sentence) and remedy in sentence, sentence
    assert history(server) == ran


def test_a_file_that_is_not_there(client, graph):
    with pytest.raises(PromptRejected, match="'gone.pt' not in"):
        client.run(changed(graph, {"sam2.file": "gone.pt"}))


def test_an_empty_file(client, graph):
    with pytest.raises(NodeFailed) as raised:
        client.run(changed(graph, {"sam2.file": "sam2_hiera_small.pt"}))
    assert "sam2_hiera_small.pt is empty; download it again." in one_sentence(raised.value)


@pytest.mark.parametrize("text, thing", [("", "neither points nor a box"), ('[{"x": 2}]', "Point 1 has no y")])
def test_bad_points_from_another_node(client, graph, text, thing):
    """They are known only when the graph runs."""
    words = {"words": node("PrimitiveString", value=text), "segment.points": ["words", 0]}
    with pytest.raises(NodeFailed) as raised:
        client.run(changed(graph, words))
    assert thing in one_sentence(raised.value)


def test_points_from_another_node(client, graph):
    """After all of the above, a mask."""
    words = {"words": node("PrimitiveString", value=POINTS), "segment.points": ["words", 0]}
    assert 0 < pictures(client, client.run(changed(graph, words)), "mask").mean() < 255
