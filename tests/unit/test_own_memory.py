"""Each tensor that a node gives can be written to like any other: no element is another's, and none is an input's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from annotator_weights import write_depth_folder, write_mteed, write_sam2
from pack import NODES

from systems.annotators.anyline.annotator import load_anyline
from systems.annotators.depth_anything.annotator import load_depth_anything
from systems.annotators.sam2.annotator import load_sam2
from systems.qwen2vl_flux.encoder import load_qwen2vl

TENSORS = ("IMAGE", "MASK", "LATENT", "SIGMAS")
GENERATOR = torch.Generator().manual_seed(0)
PICTURE = torch.rand(2, 64, 80, 3, generator=GENERATOR)
MASK = (torch.rand(2, 64, 80, generator=GENERATOR) > 0.5).float()
POINT = {"points": '[{"x": 0.4, "y": 0.5}]', "box": ""}


@pytest.fixture(scope="module")
def loaded(tmp_path_factory, root: Path) -> Callable[[str], object]:
    """The model of an input by its name, loaded once."""
    folder = tmp_path_factory.mktemp("models")
    ways = {
        "depth_anything": lambda: load_depth_anything(write_depth_folder(folder / "depth")),
        "anyline": lambda: load_anyline(write_mteed(folder / "MTEED.pth")),
        "sam2": lambda: load_sam2(write_sam2(folder / "sam2.1_hiera_tiny.pt")),
        "qwen2vl": lambda: load_qwen2vl(root / "demo"),
    }
    made: dict[str, object] = {}

    def get(name: str) -> object:
        if name not in made:
            made[name] = ways[name]()
        return made[name]

    return get


MODELS = {
    "Qwen2VLFluxDepthAnythingV2Map": "depth_anything",
    "Qwen2VLFluxAnyLineMap": "anyline",
    "Qwen2VLFluxSAM2Segment": "sam2",
}
PREPARED = {"aspect_ratio": "picture", "size": 256}
CASES = {
    "depth": ("Qwen2VLFluxDepthAnythingV2Map", {"image": PICTURE}),
    "depth of a flat picture": ("Qwen2VLFluxDepthAnythingV2Map", {"image": torch.ones(1, 64, 64, 3)}),
    "lines": ("Qwen2VLFluxAnyLineMap", {"image": PICTURE, "resolution": 64}),
    "lines of a grey picture": ("Qwen2VLFluxAnyLineMap", {"image": PICTURE[..., :1], "resolution": 128}),
    "the best masks": ("Qwen2VLFluxSAM2Segment", {"image": PICTURE[:1], "candidates": "best", **POINT}),
    "all masks": ("Qwen2VLFluxSAM2Segment", {"image": PICTURE[:1], "candidates": "all", **POINT}),
    "a picture made fit": ("Qwen2VLFluxPrepareImage", {"image": PICTURE, "mask": MASK, **PREPARED}),
    "a picture that fits": ("Qwen2VLFluxPrepareImage", {"image": PICTURE[:, :, :64], **PREPARED}),
    "a grey picture": ("Qwen2VLFluxPrepareImage", {"image": PICTURE[..., :1], "mask": MASK[:1], **PREPARED}),
    "a focus": ("GridDotFocus", {"tokens": PICTURE, "dots": '[{"x": 0.3, "y": 0.4}]', "mode": "attention"}),
    "no focus": ("GridDotFocus", {"tokens": PICTURE, "dots": "", "mode": "attention"}),
    "a focus by masks": ("GridDotFocus", {"tokens": PICTURE, "dots": "", "mode": "scale", "mask": MASK}),
    "an empty latent": ("Qwen2VLFluxSize", {"aspect_ratio": "1:1", "batch_size": 2, "size": 64}),
    "sigmas": ("Qwen2VLFluxSigmas", {"steps": 4, "strength": 0.7, "latent": {"samples": torch.zeros(1, 16, 8, 8)}}),
}


def tensors_of(node_id: str, given: dict, loaded: Callable[[str], object]) -> list[torch.Tensor]:
    """What a node gives of the kinds in TENSORS; `tokens` are given as the picture that they are of."""
    given = dict(given)
    if node_id in MODELS:
        given[MODELS[node_id]] = loaded(MODELS[node_id])
    if "tokens" in given:
        given["tokens"] = loaded("qwen2vl").encode(given["tokens"])
    outputs = NODES[node_id].execute(**given).args
    kinds = [output.io_type for output in NODES[node_id].GET_SCHEMA().outputs]
    wanted = [value for kind, value in zip(kinds, outputs, strict=True) if kind in TENSORS]
    return [value["samples"] if isinstance(value, dict) else value for value in wanted]


def leaves(given: dict) -> Iterator[torch.Tensor]:
    for value in given.values():
        value = value["samples"] if isinstance(value, dict) else value
        if isinstance(value, torch.Tensor):
            yield value


def test_every_node_that_gives_tensors_is_here() -> None:
    giving = {
        node_id
        for node_id, node in NODES.items()
        if any(output.io_type in TENSORS for output in node.GET_SCHEMA().outputs)
    }
    assert giving == {node_id for node_id, _ in CASES.values()}


@pytest.mark.parametrize("node_id, given", CASES.values(), ids=[name.replace(" ", "_") for name in CASES])
@torch.inference_mode()
def test_outputs_are_written_alone(node_id, given, loaded) -> None:
    before = [value.clone() for value in leaves(given)]
    made = tensors_of(node_id, given, loaded)
    assert made
    kept = [value.clone() for value in made]
    for number, value in enumerate(made):
        value.mul_(0.5)
        assert torch.equal(value, kept[number] * 0.5)
        for dimension in (dimension for dimension, edge in enumerate(value.shape) if edge > 1):
            others = value.narrow(dimension, 1, value.shape[dimension] - 1).clone()
            value.select(dimension, 0).fill_(7)
            assert torch.equal(value.narrow(dimension, 1, value.shape[dimension] - 1), others), dimension
        assert all(
            torch.equal(other, first) for other, first in zip(made[number + 1 :], kept[number + 1 :], strict=True)
        )
    assert all(torch.equal(value, first) for value, first in zip(leaves(given), before, strict=True))
    assert all(torch.equal(*pair) for pair in zip(tensors_of(node_id, given, loaded), kept, strict=True))
