"""The encoder against transformers' own Qwen2VLModel, live, on fresh random weights, pictures and sizes."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from goldens import relative_error
from PIL import Image

from systems.common.weights.shards import WeightFiles
from systems.qwen2vl_flux.encoder import load_qwen2vl

LIMIT = 5e-6
# The published chat text before and after the image: the question, the end of the turn, the assistant's start.
CHAT = (
    [151644, 8948, 198, 2610, 525, 264, 10950, 17847, 13, 151645, 198, 151644, 872, 198, 151652],
    [151653, 74785, 419, 2168, 13, 151645, 198, 151644, 77091, 198],
)


@pytest.fixture(scope="module")
def oracle(tiny):
    """transformers' model with the tiny checkpoint's weights, and its image processor."""
    from transformers import Qwen2VLConfig, Qwen2VLModel
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    raw = json.loads((tiny / "qwen2-vl" / "config.json").read_text())
    rope = {
        "rope_type": "default",
        "rope_theta": raw["rope_theta"],
        "mrope_section": raw["rope_scaling"]["mrope_section"],
    }
    unused = ("vision_config", "rope_scaling", "architectures", "torch_dtype")
    text = {key: value for key, value in raw.items() if key not in unused}
    config = Qwen2VLConfig(
        text_config={**text, "model_type": "qwen2_vl_text", "rope_parameters": rope},
        vision_config=raw["vision_config"],
        image_token_id=raw["image_token_id"],
        video_token_id=raw["video_token_id"],
        vision_start_token_id=raw["vision_start_token_id"],
        vision_end_token_id=raw["vision_end_token_id"],
    )
    model = Qwen2VLModel(config).float().eval()
    files = WeightFiles(tiny / "qwen2-vl", "model")
    state = {
        name if name.startswith("visual.") else name.replace("model.", "language_model.", 1): weight
        for name, weight in ((name, files.read(name, torch.float32)) for name in files.infos)
    }
    model.load_state_dict(state)
    return model, Qwen2VLImageProcessorPil()


def oracle_states(oracle, picture: torch.Tensor, budget: int) -> torch.Tensor:
    """Hidden states [T, D] at the image tokens of one picture [H, W, 3], the whole chat text run through the model."""
    model, processor = oracle
    pixels = Image.fromarray((picture.numpy() * 255).round().astype(np.uint8))
    area = budget * 28 * 28
    inputs = processor(images=[pixels], return_tensors="pt", size={"shortest_edge": area, "longest_edge": area})
    count = int(inputs["image_grid_thw"].prod()) // 4
    ids = torch.tensor([CHAT[0] + [model.config.image_token_id] * count + CHAT[1]])
    at_image = ids == model.config.image_token_id
    with torch.no_grad():
        states = model(input_ids=ids, mm_token_type_ids=at_image.int(), use_cache=False, **inputs).last_hidden_state
    return states[at_image]


SIZES = [(224, 224), (301, 197), (27, 27), (1, 28), (28, 1), (1, 1), (30, 4000), (4000, 30), (199, 2), (333, 1000)]


@pytest.mark.parametrize("height, width", SIZES, ids=lambda edge: str(edge))
def test_random_pictures(tiny, oracle, height, width):
    """Every size, at a random budget; the pack never runs the text after the image."""
    generator = torch.Generator().manual_seed(height * 10007 + width)
    picture = torch.rand(height, width, 3, generator=generator)
    budget = int(torch.randint(16, 200, (), generator=generator))
    tokens = load_qwen2vl(tiny).encode(picture[None], budget)
    reference = oracle_states(oracle, picture, budget)
    assert tokens.is_whole
    assert relative_error(tokens.embeddings[0], reference) <= LIMIT


def test_a_batch_equals_its_pictures(tiny, oracle):
    pictures = torch.rand(3, 90, 140, 3, generator=torch.Generator().manual_seed(7))
    tokens = load_qwen2vl(tiny).encode(pictures, 64)
    for own, picture in zip(tokens.embeddings, pictures, strict=True):
        assert relative_error(own, oracle_states(oracle, picture, 64)) <= LIMIT


def test_fresh_weights(tiny, oracle, tmp_path):
    """Weights nobody has seen before, written in transformers 5 names as one file and read by the pack."""
    from safetensors.torch import save_file

    model, _ = oracle
    kept = {name: value.clone() for name, value in model.state_dict().items()}
    generator = torch.Generator().manual_seed(20261120)
    with torch.no_grad():
        for value in model.state_dict().values():
            noise = torch.randn(value.shape, generator=generator) * value.float().std().clamp(0.02)
            value.copy_((value + 0.5 * noise).to(torch.bfloat16))
    folder = tmp_path / "fresh"
    (folder / "qwen2-vl").mkdir(parents=True)
    for name in ("config.json", "preprocessor_config.json", "connector.pt", "t5_embedder.pt"):
        (folder / "qwen2-vl" / name).write_bytes((tiny / "qwen2-vl" / name).read_bytes())
    state = {f"model.{name}": value.to(torch.bfloat16).contiguous() for name, value in model.state_dict().items()}
    save_file(state, folder / "qwen2-vl" / "model.safetensors")
    picture = torch.rand(150, 210, 3, generator=generator)
    try:
        tokens = load_qwen2vl(folder).encode(picture[None], 100)
        assert relative_error(tokens.embeddings[0], oracle_states(oracle, picture, 100)) <= LIMIT
    finally:
        model.load_state_dict(kept)


def test_wrong_ways_are_seen(tiny, oracle):
    """A missing system text and tokens taken before the final norm are both far beyond the limit."""
    picture = torch.rand(140, 140, 3, generator=torch.Generator().manual_seed(3))
    reference = oracle_states(oracle, picture, 25)
    bare = load_qwen2vl(tiny)
    bare.network.model.embed_tokens.weight = torch.nn.Parameter(
        bare.network.model.embed_tokens.weight.roll(1, dims=0), requires_grad=False
    )
    assert relative_error(bare.encode(picture[None], 25).embeddings[0], reference) > 1e-3
    unnormed = load_qwen2vl(tiny)
    unnormed.network.model.norm = torch.nn.Identity()
    assert relative_error(unnormed.encode(picture[None], 25).embeddings[0], reference) > 1e-1
