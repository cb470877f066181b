"""The annotators under ComfyUI's memory management: partial loading, unloading, and memory given back."""

from __future__ import annotations

import gc
import weakref

import comfy.model_management as mm
import pytest
import torch
from annotator_weights import write_depth, write_mteed

from qwen2vl_flux_pack.models.anyline import load_anyline
from qwen2vl_flux_pack.models.depth_anything import load_depth_anything

PICTURE = torch.rand(1, 80, 80, 3, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def annotators(tmp_path_factory) -> dict:
    """For each kind a function that loads it anew; each then maps PICTURE."""
    folder = tmp_path_factory.mktemp("annotators")
    depth, lines = write_depth(folder / "depth.pth"), write_mteed(folder / "MTEED.pth")
    return {"depth": lambda: load_depth_anything(depth), "lines": lambda: load_anyline(lines)}


def mapped(annotator) -> torch.Tensor:
    with torch.inference_mode():
        return annotator.depth(PICTURE) if hasattr(annotator, "depth") else annotator.lines(PICTURE, 128)


def resident() -> int:
    """Bytes of this process in memory."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


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


def test_memory_goes_back(annotators):
    """Loaded, used and let go six times: what stays is less than one of them."""
    taken = []
    for _ in range(6):
        annotator = annotators["depth"]()
        size = annotator.patcher.model_size()
        mapped(annotator)
        del annotator
        mm.unload_all_models()
        gc.collect()
        taken.append(resident())
    assert size > 90 * 2**20
    assert taken[-1] - taken[0] < size


def test_stored_dtypes_are_told(tmp_path):
    """ComfyUI sizes and streams weights by these."""
    path = write_depth(tmp_path / "depth_anything_v2_vits_fp16.safetensors", dtype=torch.float16)
    network = load_depth_anything(path).network
    assert network.pretrained.blocks[0].attn.qkv.weight_comfy_model_dtype == torch.float16


def test_an_interrupt_stops_between_pictures(annotators):
    annotator = annotators["lines"]()
    passes = []
    annotator.network.register_forward_hook(lambda *_: passes.append(1) or mm.interrupt_current_processing())
    with pytest.raises(mm.InterruptProcessingException), torch.inference_mode():
        annotator.lines(PICTURE.expand(3, -1, -1, -1), 128)
    assert len(passes) == 1
