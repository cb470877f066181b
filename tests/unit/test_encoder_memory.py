"""The encoder under ComfyUI's memory management: partial loading, unloading, storage, and the peak while loading."""

from __future__ import annotations

import comfy.model_management as mm
import pytest
import torch
from goldens import relative_error

from qwen2vl_flux_pack.benchmarks import memory, random_checkpoint
from qwen2vl_flux_pack.models.qwen2vl import load_qwen2vl

PICTURE = torch.rand(1, 100, 140, 3, generator=torch.Generator().manual_seed(0))


def encoded(qwen2vl) -> torch.Tensor:
    with torch.inference_mode():
        return qwen2vl.encode(PICTURE, 64).embeddings


def test_only_the_needed_rows_are_kept(tiny):
    network = load_qwen2vl(tiny).network
    assert network.model.embed_tokens.weight.shape == (15, 128)
    assert {value.dtype for name, value in network.state_dict().items() if name.startswith(("visual", "model"))} == {
        torch.bfloat16
    }


def test_partial_loading_changes_nothing(tiny):
    qwen2vl = load_qwen2vl(tiny)
    whole = encoded(qwen2vl)
    patcher = qwen2vl.patcher
    patcher.detach()
    size = patcher.model_size()
    patcher.load(patcher.load_device, lowvram_model_memory=size // 3)
    assert 0 < patcher.loaded_size() < size
    assert torch.equal(encoded(qwen2vl), whole)


def test_use_after_unloading(tiny):
    qwen2vl = load_qwen2vl(tiny)
    before = encoded(qwen2vl)
    assert any(loaded.model is qwen2vl.patcher for loaded in mm.current_loaded_models)
    mm.unload_all_models()
    assert not any(loaded.model is qwen2vl.patcher for loaded in mm.current_loaded_models)
    assert {value.device for value in qwen2vl.network.state_dict().values()} == {qwen2vl.patcher.offload_device}
    assert torch.equal(encoded(qwen2vl), before)


@pytest.mark.parametrize("weight_dtype, limit", [("fp8_e4m3fn", 0.5), ("fp8_e5m2", 0.9)])
def test_fp8_storage(tiny, weight_dtype, limit):
    """Half the memory for the matrices of all blocks, norms and biases untouched, states near the bfloat16 ones."""
    exact, small = load_qwen2vl(tiny), load_qwen2vl(tiny, weight_dtype)
    for name, value in small.network.state_dict().items():
        in_a_block = name.startswith(("visual", "model")) and value.ndim == 2 and "embed_tokens" not in name
        assert (value.element_size() == 1) == in_a_block, name
    assert 1e-4 < relative_error(encoded(small), encoded(exact)) < limit


def test_peak_while_loading(tmp_path):
    """Loading more than a gigabyte never holds more than 1.1 times the bytes of the weights it keeps."""
    folder = random_checkpoint.write(tmp_path / "random", random_checkpoint.GIGABYTE)
    for weight_dtype in memory.DTYPES:
        result = memory.measure_apart(folder, weight_dtype)
        assert result["kept"] > 0.9 * 2**30 or weight_dtype != "default"
        assert result["kept"] <= result["peak"] * 1.02
        assert result["peak"] <= 1.1 * result["kept"], weight_dtype
