"""The annotators under ComfyUI's memory management: partial loading, unloading, and memory given back."""

from __future__ import annotations

import gc
import weakref

import comfy.model_management as mm
import pytest
import torch
from annotator_weights import write_depth_folder, write_mteed
from comfy.cli_args import args
from tensor_memory import held, peak

from systems.annotators.anyline.annotator import FLOATS, load_anyline
from systems.annotators.depth_anything.annotator import load_depth_anything

PICTURE = torch.rand(1, 80, 80, 3, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def annotators(tmp_path_factory) -> dict:
    """For each kind a function that loads it anew; each then maps PICTURE."""
    folder = tmp_path_factory.mktemp("annotators")
    depth, lines = write_depth_folder(folder / "depth"), write_mteed(folder / "MTEED.pth")
    return {"depth": lambda: load_depth_anything(depth), "lines": lambda: load_anyline(lines)}


def mapped(annotator) -> torch.Tensor:
    with torch.inference_mode():
        return annotator.depth(PICTURE) if hasattr(annotator, "depth") else annotator.lines(PICTURE, 128)


@pytest.mark.parametrize("kind", ["depth", "lines"])
def test_use_after_unloading(annotators, kind):
    annotator = annotators[kind]()
    before = mapped(annotator)
    assert any(loaded.model is annotator.patcher for loaded in mm.current_loaded_models)
    mm.unload_all_models()
    assert not any(loaded.model is annotator.patcher for loaded in mm.current_loaded_models)
    assert torch.equal(mapped(annotator), before)


@pytest.mark.parametrize("kind", ["depth", "lines"])
def test_partial_loading_changes_nothing(annotators, kind):
    annotator = annotators[kind]()
    patcher, network = annotator.patcher, annotator.network
    pixels = torch.rand(1, 3, 14 * 16, 14 * 16, generator=torch.Generator().manual_seed(1))
    made, sizes = [], []
    for how in ({"full_load": True}, {"lowvram_model_memory": patcher.model_size() // 3}):
        patcher.detach()
        patcher.load(patcher.load_device, **how)
        with torch.inference_mode():
            made.append(network(pixels))
        sizes.append(patcher.loaded_size())
    assert sizes[0] == patcher.model_size() and sizes[1] < 0.7 * patcher.model_size()
    assert torch.equal(*made)


@pytest.mark.parametrize("kind", ["depth", "lines"])
def test_nothing_is_left_of_an_annotator(annotators, kind):
    """The network is gone when its graph lets go of it, and so is its memory: no cache, no state on nodes."""
    annotator = annotators[kind]()
    mapped(annotator)
    network = weakref.ref(annotator.network)
    del annotator
    mm.unload_all_models()
    gc.collect()
    assert network() is None


@pytest.mark.parametrize("kind", ["depth", "lines"])
def test_memory_goes_back(annotators, kind):
    """After use nothing but the weights is held; without the annotator, nothing."""
    start = held()
    annotator = annotators[kind]()
    weights = sum(value.nbytes for value in annotator.network.state_dict().values())
    assert held() - start == pytest.approx(weights, rel=1e-2)
    loaded = held()
    mapped(annotator)
    assert held() - loaded < 2**14
    mm.unload_all_models()
    del annotator
    assert held() - start < 2**14


@pytest.mark.parametrize("resolution", [640, 1280])
def test_memory_asked_for_lines(annotators, tmp_path, resolution):
    """Enough for what the network takes, and not much more."""
    annotator = annotators["lines"]()
    mapped(annotator)
    pixels = torch.rand(1, 3, resolution, resolution) * 255
    with torch.inference_mode():
        taken = peak(lambda: annotator.network(pixels), tmp_path) + pixels.nbytes
    asked = FLOATS * 4 * resolution**2
    assert taken < asked < 1.5 * taken


@pytest.mark.parametrize("kind", ["depth", "lines"])
def test_maps_are_of_the_intermediate_type(annotators, monkeypatch, kind):
    annotator = annotators[kind]()
    assert mapped(annotator).dtype == torch.float32
    monkeypatch.setattr(args, "fp16_intermediates", True)
    assert mapped(annotator).dtype == torch.float16


def test_stored_dtypes_are_told(tmp_path):
    """ComfyUI sizes and streams weights by these."""
    network = load_depth_anything(write_depth_folder(tmp_path / "half", torch.float16)).network
    assert network.pretrained.blocks[0].attn.qkv.weight_comfy_model_dtype == torch.float16


def test_an_interrupt_stops_depth(annotators):
    """In the middle of a picture: every layer of comfy.ops looks."""
    annotator = annotators["depth"]()
    blocks, passed = annotator.network.pretrained.blocks, []
    blocks[1].register_forward_hook(lambda *_: mm.interrupt_current_processing())
    blocks[3].register_forward_hook(lambda *_: passed.append("block 3"))
    with pytest.raises(mm.InterruptProcessingException):
        mapped(annotator)
    assert not passed


def test_an_interrupt_stops_lines(annotators):
    """After the network, before the dark lines of the same picture are looked for."""
    annotator = annotators["lines"]()
    annotator.network.register_forward_hook(lambda *_: mm.interrupt_current_processing())
    with pytest.raises(mm.InterruptProcessingException):
        mapped(annotator)
