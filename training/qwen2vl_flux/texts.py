"""The frozen text encoders: CLIP-L's pooled vector of the empty prompt, and T5's hidden states of a prompt."""

from __future__ import annotations

from pathlib import Path

import torch
from accelerate import init_empty_weights
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel, T5TokenizerFast

from systems.common.errors import CheckpointError
from systems.common.weights.files import read_json
from systems.common.weights.shards import WeightFiles

from ..weights import fill

T5_TOKENS = 256
# CLIP-L's tokens around a prompt, which is filled up with the second, and the length.
START, END, CLIP_TOKENS = 49406, 49407, 77


def pooled_of_nothing(checkpoint: Path) -> Tensor:
    """CLIP-L's pooled vector [1, 768] of the empty prompt, which Qwen2VL-Flux gives with every image."""
    place = checkpoint / "flux" / "text_encoder"
    config = _config(place, "clip_text_model")
    with init_empty_weights():
        clip = CLIPTextModel(CLIPTextConfig(**config))
    files = WeightFiles(place, "model", rename=lambda name: name.removeprefix("text_model."))
    fill(clip, files, "text_encoder/config.json", unused=("text_projection.", "embeddings.position_ids"))
    ids = torch.tensor([[START, *[END] * (CLIP_TOKENS - 1)]])
    with torch.no_grad():
        return clip.eval()(ids).pooler_output


class T5(nn.Module):
    """Prompts to hidden states [B, 256, width], padded without a mask and cut with the end token kept."""

    def __init__(self, network: T5EncoderModel, tokenizer: T5TokenizerFast):
        super().__init__()
        self.network, self.tokenizer = network, tokenizer

    @torch.no_grad()
    def forward(self, prompts: list[str]) -> Tensor:
        ids = self.tokenizer(prompts, padding="max_length", truncation=True, max_length=T5_TOKENS, return_tensors="pt")
        return self.network(ids.input_ids.to(self.network.device)).last_hidden_state


def read_t5(checkpoint: Path, dtype: torch.dtype) -> T5:
    """T5 and its tokenizer; raises CheckpointError when one of them is not there or is another model's."""
    place, words = checkpoint / "flux" / "text_encoder_2", checkpoint / "flux" / "tokenizer_2"
    config = _config(place, "t5")
    try:
        tokenizer = T5TokenizerFast.from_pretrained(words, local_files_only=True)
    except (OSError, ValueError):
        raise CheckpointError(
            f"{words} holds no tokenizer of T5, which the prompts of the data need; download that folder of the "
            "checkpoint, or leave the prompts out."
        ) from None
    with init_empty_weights():
        network = T5EncoderModel(T5Config(**config))
        network.set_input_embeddings(network.shared)  # its second name, encoder.embed_tokens, becomes the same layer
    fill(
        network,
        WeightFiles(place, "model"),
        "text_encoder_2/config.json",
        dtype=dtype,
        unused=("encoder.embed_tokens.",),
    )
    return T5(network.eval(), tokenizer)


def _config(place: Path, kind: str) -> dict:
    config = read_json(place / "config.json")
    if config.get("model_type") != kind:
        raise CheckpointError(
            f"{place / 'config.json'} describes a model of type {config.get('model_type')!r}, not {kind!r}; put the "
            f"checkpoint's own {place.name} folder there."
        )
    return config
