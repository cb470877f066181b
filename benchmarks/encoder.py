"""The encoder's time against transformers' Qwen2VLModel on the same weights and pixels, taken in turns."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

from .comfyui import start_comfyui

TOKENS = 512
TURNS = 5


def run() -> str:
    """Ratio of medians, as text."""
    start_comfyui()
    import torch

    from systems.qwen2vl_flux.encoder import load_qwen2vl

    from . import random_checkpoint

    picture = torch.rand(1, 512, 512, 3, generator=torch.Generator().manual_seed(0))
    with tempfile.TemporaryDirectory() as place:
        folder = random_checkpoint.write(Path(place) / "random", random_checkpoint.SMALL)
        own = load_qwen2vl(folder)
        oracle = _transformers(folder, random_checkpoint.config_json(random_checkpoint.SMALL))
    ways = {"pack": lambda: own.encode(picture, TOKENS).embeddings[0], "transformers": lambda: oracle(picture[0])}
    with torch.inference_mode():
        states = {name: way() for name, way in ways.items()}
        seconds = {name: [] for name in ways}
        for _ in range(TURNS):
            for name, way in ways.items():
                began = time.perf_counter()
                way()
                seconds[name].append(time.perf_counter() - began)
    error = ((states["pack"] - states["transformers"]).abs().max() / states["transformers"].abs().max()).item()
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    return (
        f"encoder, {states['pack'].shape[0]} tokens, {random_checkpoint.SMALL.width} wide: "
        f"{medians['pack']:.2f} s against transformers' {medians['transformers']:.2f} s, "
        f"ratio {medians['pack'] / medians['transformers']:.2f} (medians of {TURNS} turns; "
        f"pack keeps bfloat16 weights, transformers float32; states differ by {error:.1e})"
    )


def _renamed(name: str) -> str:
    return name if name.startswith("visual.") else name.replace("model.", "language_model.", 1)


def _transformers(folder: Path, raw: dict):
    """transformers' model in float32 with the whole chat text, as a function of one image [H, W, 3]."""
    import numpy as np
    import torch
    from PIL import Image
    from transformers import Qwen2VLConfig, Qwen2VLModel
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    from systems.common.weights.shards import WeightFiles
    from systems.qwen2vl_flux.checkpoint import PUBLISHED_PREFIX_IDS

    rope = {"rope_type": "default", "rope_theta": raw["rope_theta"], **raw["rope_scaling"]}
    text = {key: value for key, value in raw.items() if key not in ("vision_config", "rope_scaling", "architectures")}
    model = Qwen2VLModel(
        Qwen2VLConfig(
            text_config={**text, "model_type": "qwen2_vl_text", "rope_parameters": rope},
            vision_config=raw["vision_config"],
            image_token_id=raw["image_token_id"],
        )
    )
    model = model.float().eval()
    files = WeightFiles(folder / "qwen2-vl", "model")
    weights = {name: files.read(name, torch.float32) for name in files.infos}
    model.load_state_dict({_renamed(name): value for name, value in weights.items()})
    processor = Qwen2VLImageProcessorPil()
    after = [151653, 74785, 419, 2168, 13, 151645, 198, 151644, 77091, 198]

    def encode(picture: torch.Tensor) -> torch.Tensor:
        area = TOKENS * 28 * 28
        pixels = Image.fromarray((picture.numpy() * 255).round().astype(np.uint8))
        size = {"shortest_edge": area, "longest_edge": area}
        inputs = processor(images=[pixels], return_tensors="pt", size=size)
        count = int(inputs["image_grid_thw"].prod()) // 4
        ids = torch.tensor([[*PUBLISHED_PREFIX_IDS, *[raw["image_token_id"]] * count, *after]])
        image = ids == raw["image_token_id"]
        return model(input_ids=ids, mm_token_type_ids=image.int(), use_cache=False, **inputs).last_hidden_state[image]

    return encode
