"""Depth and line maps in the real server: every kind of picture, a batch, and files that are not the right ones."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from client.comfy_client import ComfyClient, NodeFailed, PromptRejected
from client.server import ComfyServer
from systems.annotators.anyline.annotator import load_anyline
from systems.annotators.depth_anything.annotator import load_depth_anything

DEPTH, LINES = "small/depth-anything-v2/small", "small/anyline/MTEED.pth"


def node(class_type: str, **inputs) -> dict:
    return {"class_type": class_type, "inputs": inputs}


def graph(picture: str, file: str, *, resolution: int = 320) -> dict:
    """LoadImage, the map of the file's kind, SaveImage."""
    if file == LINES:
        kind, mapped = "AnyLine", {"anyline": ["loader", 0], "resolution": resolution}
    else:
        kind, mapped = "DepthAnythingV2", {"depth_anything": ["loader", 0]}
    return {
        "image": node("LoadImage", image=picture),
        "loader": node(f"Qwen2VLFlux{kind}Loader", file=file),
        "map": node(f"Qwen2VLFlux{kind}Map", image=["image", 0], **mapped),
        "save": node("SaveImage", images=["map", 0], filename_prefix="annotator"),
    }


def saved(client: ComfyClient, run) -> np.ndarray:
    """Pictures [B, H, W, 3] in 0..255."""
    made = [client.fetch(image) for image in run.outputs["save"]["images"]]
    return np.stack([np.asarray(Image.open(io.BytesIO(data)).convert("RGB")) for data in made])


def in_this_process(small, kind: str, picture: np.ndarray) -> np.ndarray:
    """The map [H, W, 3] as SaveImage writes it."""
    image = torch.from_numpy(picture.copy())[None].float() / 255
    with torch.inference_mode():
        if kind == LINES:
            made = load_anyline(small / "anyline" / "MTEED.pth").lines(image, 320)
        else:
            made = load_depth_anything(small / "depth-anything-v2" / "small").depth(image)
    return (made[0].numpy() * 255).clip(0, 255).astype(np.uint8)


@pytest.fixture
def upload(client, tmp_path):
    """Uploads an array (with alpha, if it has four channels) as a picture; returns its name."""

    def send(name: str, values: np.ndarray) -> str:
        Image.fromarray(values).save(tmp_path / f"{name}.png")
        return client.upload_image(tmp_path / f"{name}.png")

    return send


@pytest.fixture(scope="module")
def ready(small, server: ComfyServer):
    """The server, with the random weights in place."""
    return small


@pytest.mark.parametrize("file", [DEPTH, LINES], ids=["depth", "lines"])
@pytest.mark.parametrize(
    "name, size", [("usual", (90, 121, 3)), ("dot", (1, 1, 3)), ("long", (3, 1100, 3)), ("tall", (200, 70, 3)),
                   ("alpha", (64, 80, 4))]
)  # fmt: skip
def test_maps_of_pictures(ready, client, upload, file, name, size):
    """What the server saves is what this process computes, at the size of the picture; transparency is not seen."""
    values = np.random.default_rng(len(name)).integers(0, 256, size, dtype=np.uint8)
    made = saved(client, client.run(graph(upload(name, values), file)))
    assert made.shape == (1, *size[:2], 3)
    expected = in_this_process(ready, file, values[..., :3])
    assert np.abs(made[0].astype(int) - expected).max() <= 1
    if name == "usual":
        assert made.std() > 10 and (made[..., 0] == made[..., 2]).all()


@pytest.mark.parametrize("file", [DEPTH, LINES], ids=["depth", "lines"])
def test_a_batch_is_its_pictures(ready, client, upload, file):
    values = np.random.default_rng(5).integers(0, 256, (2, 60, 75, 3), dtype=np.uint8)
    batch = graph(upload("first", values[0]), file)
    batch["second"] = node("LoadImage", image=upload("second", values[1]))
    batch["both"] = node("ImageBatch", image1=["image", 0], image2=["second", 0])
    batch["map"]["inputs"]["image"] = ["both", 0]
    made = saved(client, client.run(batch))
    assert made.shape == (2, 60, 75, 3) and (made[0] != made[1]).any()
    for own, picture in zip(made, values, strict=True):
        assert np.abs(own.astype(int) - in_this_process(ready, file, picture)).max() <= 1


def test_the_loaders_list_what_lies_in_place(ready, client):
    info = client.object_info()
    depth, lines = (
        info[f"Qwen2VLFlux{kind}Loader"]["input"]["required"]["file"][1]["options"]
        for kind in ("DepthAnythingV2", "AnyLine")
    )
    assert DEPTH in depth and LINES not in depth
    assert LINES in lines


def test_a_file_that_is_not_there(ready, client, example):
    with pytest.raises(PromptRejected, match="file"):
        client.run(graph(example, "small/depth-anything-v2/gone.pth"))


def test_another_model_s_file(ready, client, example):
    """Choosing the line detector for depth is answered in one sentence that names both."""
    path = ready / "depth-anything-v2" / "MTEED.pth"
    path.write_bytes((ready / "anyline" / "MTEED.pth").read_bytes())
    try:
        with pytest.raises(NodeFailed, match="holds another model .*, not Depth Anything V2; choose a file such as"):
            client.run(graph(example, "small/depth-anything-v2/MTEED.pth"))
    finally:
        path.unlink()


@pytest.mark.parametrize("resolution", [0, 63, 5000, "many"])
def test_a_bad_resolution(ready, client, example, resolution):
    with pytest.raises(PromptRejected, match="resolution"):
        client.run(graph(example, LINES, resolution=resolution))
