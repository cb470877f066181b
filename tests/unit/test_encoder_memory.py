"""The encoder under ComfyUI's memory management: partial loading, unloading, storage, and the peak while loading."""

from __future__ import annotations

import comfy.model_management as mm
import pytest
import torch
from comfy.ldm.modules.attention import attention_pytorch
from goldens import relative_error

from benchmarks import memory, random_checkpoint
from systems.common.comfy import attention
from systems.qwen2vl_flux.encoder import load_qwen2vl
from systems.qwen2vl_flux.preprocess import patches_of

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
    """The network itself, since encode() on a CPU would load the rest first."""
    qwen2vl = load_qwen2vl(tiny)
    patches, (rows, columns) = patches_of(PICTURE[0], qwen2vl.config, 64)
    patcher, network = qwen2vl.patcher, qwen2vl.network
    loaded_in_forward = []
    network.register_forward_pre_hook(lambda *_: loaded_in_forward.append(patcher.loaded_size()))

    def states(**how) -> torch.Tensor:
        patcher.detach()
        patcher.load(patcher.load_device, **how)
        with torch.inference_mode():
            return network(patches, rows, columns)

    whole, part = states(full_load=True), states(lowvram_model_memory=patcher.model_size() // 3)
    assert loaded_in_forward[0] == patcher.model_size() and 0 < loaded_in_forward[1] < patcher.model_size() / 2
    assert torch.equal(part, whole)


def test_use_after_unloading(tiny):
    qwen2vl = load_qwen2vl(tiny)
    before = encoded(qwen2vl)
    assert any(loaded.model is qwen2vl.patcher for loaded in mm.current_loaded_models)
    mm.unload_all_models()
    assert not any(loaded.model is qwen2vl.patcher for loaded in mm.current_loaded_models)
    assert torch.equal(encoded(qwen2vl), before)


def test_dynamic_vram_is_told_the_stored_dtypes(tiny):
    """ComfyUI sizes and streams weights by these, not by what the module was built with."""
    network = load_qwen2vl(tiny, "fp8_e4m3fn").network
    assert network.visual.blocks[0].mlp.fc1.weight_comfy_model_dtype == torch.float8_e4m3fn
    assert network.visual.blocks[0].mlp.fc1.bias_comfy_model_dtype == torch.bfloat16
    assert network.connector.weight_comfy_model_dtype == torch.float32


@pytest.mark.parametrize("weight_dtype, limit", [("fp8_e4m3fn", 0.5), ("fp8_e5m2", 0.9)])
def test_fp8_storage(tiny, weight_dtype, limit):
    """Half the memory for the matrices of all blocks, norms and biases untouched, states near the bfloat16 ones."""
    exact, small = load_qwen2vl(tiny), load_qwen2vl(tiny, weight_dtype)
    for name, value in small.network.state_dict().items():
        in_a_block = name.startswith(("visual", "model")) and value.ndim == 2 and "embed_tokens" not in name
        assert (value.element_size() == 1) == in_a_block, name
    assert 1e-4 < relative_error(encoded(small), encoded(exact)) < limit


@pytest.mark.slow
def test_peak_while_loading(tmp_path):
    """Loading more than a gigabyte never holds more than 1.1 times the bytes of the weights it keeps."""
    folder = random_checkpoint.write(tmp_path / "random", random_checkpoint.GIGABYTE)
    for weight_dtype in memory.DTYPES:
        result = memory.measure_apart(folder, weight_dtype)
        assert result["kept"] > 0.9 * 2**30 or weight_dtype != "default"
        assert result["kept"] <= result["peak"] * 1.02
        assert result["peak"] <= 1.1 * result["kept"], weight_dtype


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("count", [5, 1023, 2047, 2048, 2500, 4000])
def test_attention_in_parts_is_the_whole(monkeypatch, count, masked):
    """To the bit, so that a long encode in parts that an interrupt can stop is the published one."""
    monkeypatch.setattr(attention, "WORK", 1)
    q, k, v = torch.randn(3, 1, 2, count, 16, generator=torch.Generator().manual_seed(count))
    mask = torch.full((count, count), torch.finfo(torch.float32).min / 4).triu_(1) if masked else None
    whole = attention_pytorch(q, k, v, 2, mask=mask, skip_reshape=True)
    assert torch.equal(attention.attention_in_parts(q, k, v, 2, mask=mask, skip_reshape=True), whole)


def test_an_interrupt_stops_attention_between_its_parts(tiny, monkeypatch):
    """Within a layer: one over the 65,536 patches of a long encode would take minutes."""
    monkeypatch.setattr(attention, "WORK", 1)
    qwen2vl = load_qwen2vl(tiny)
    picture = torch.rand(1, 400, 400, 3, generator=torch.Generator().manual_seed(2))
    parts = []

    def part(q: torch.Tensor, *given, **options) -> torch.Tensor:
        parts.append(q.shape[2])
        mm.interrupt_current_processing()
        return attention_pytorch(q, *given, **options)

    monkeypatch.setattr(attention, "attention_pytorch", part)
    with torch.inference_mode(), pytest.raises(mm.InterruptProcessingException):
        qwen2vl.encode(picture, 1024)
    assert parts == [attention.LEAST], "the first of four parts of the first block"
    monkeypatch.undo()
    with torch.inference_mode():
        whole = qwen2vl.encode(picture, 1024).embeddings
        monkeypatch.setattr(attention, "WORK", 1)
        assert torch.equal(qwen2vl.encode(picture, 1024).embeddings, whole)


def test_an_interrupt_stops_the_encoder(tiny):
    """ComfyUI's stop button works in the middle of a picture, not only between nodes."""
    qwen2vl = load_qwen2vl(tiny)
    passed = []
    qwen2vl.network.visual.blocks[0].register_forward_hook(lambda *_: mm.interrupt_current_processing())
    qwen2vl.network.model.register_forward_pre_hook(lambda *_: passed.append("language model"))
    with pytest.raises(mm.InterruptProcessingException):
        encoded(qwen2vl)
    assert not passed
