"""The text path against transformers' own T5 and CLIP on the demo checkpoint's (random) text encoders."""

from __future__ import annotations

from pathlib import Path

import comfy.text_encoders
import pytest
import torch
from goldens import relative_error

from systems.qwen2vl_flux.flux import load_text_encoders
from systems.qwen2vl_flux.prompts import encode_prompt

LIMIT = 5e-6
TOKENIZER = Path(comfy.text_encoders.__path__[0]) / "t5_tokenizer"
LONG = "a small red circle beside a yellow triangle, " * 40


@pytest.fixture(scope="module")
def folder(root) -> Path:
    return root / "demo" / "flux"


@pytest.fixture(scope="module")
def clip(root):
    return load_text_encoders(root / "demo", t5=True)


def oracle_t5(folder: Path, prompt: str) -> torch.Tensor:
    """[1, 256, D] as the published pipeline asks for it: padded to 256, truncated, no attention mask."""
    from transformers import T5EncoderModel, T5TokenizerFast

    tokenizer = T5TokenizerFast.from_pretrained(TOKENIZER)
    ids = tokenizer(prompt, padding="max_length", max_length=256, truncation=True, return_tensors="pt").input_ids
    model = T5EncoderModel.from_pretrained(folder / "text_encoder_2", dtype=torch.float32).eval()
    with torch.no_grad():
        return model(ids).last_hidden_state


@pytest.mark.parametrize(
    "prompt", ["a cat", "A photo of two dogs; one is asleep.", LONG], ids=["short", "mixed", "long"]
)
def test_t5(clip, folder, prompt):
    text, _ = encode_prompt(clip, prompt)
    assert relative_error(text.float(), oracle_t5(folder, prompt)) <= LIMIT


def test_t5_of_another_length_is_seen(clip, folder):
    """77 tokens, as SD3's T5 has, change what the remaining tokens hold."""
    tokens = clip.tokenize("a cat")
    tokens["t5xxl"] = [tokens["t5xxl"][0][:77]]
    short = clip.encode_from_tokens(tokens)
    assert relative_error(short.float(), oracle_t5(folder, "a cat")[:, :77]) > 1e-3


@pytest.mark.parametrize("t5", [False, True])
@pytest.mark.parametrize("prompt", ["", "a cat"])
def test_pooled_vector_is_that_of_the_empty_prompt(root, folder, t5, prompt):
    from transformers import CLIPTextModel

    if prompt and not t5:
        prompt = "   "
    model = CLIPTextModel.from_pretrained(folder / "text_encoder", dtype=torch.float32).eval()
    ids = torch.tensor([[49406] + [49407] * 76])
    with torch.no_grad():
        reference = model(ids).pooler_output
    text, pooled = encode_prompt(load_text_encoders(root / "demo", t5), prompt)
    assert relative_error(pooled.float(), reference) <= LIMIT
    assert (text is None) == (not prompt.strip())
