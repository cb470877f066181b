"""What an encode pays for stopping within seconds: attention in parts with looks between them, against one call."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from unittest.mock import patch

from .comfyui import start_comfyui

# The numbers of tokens: the usual one, whose attention is one part, and one whose attention is two.
TOKENS = (512, 3072)

PAIRS = 7


def run() -> str:
    """Medians of the ratios of pairs, as text, in the processor time of one thread: several spin while they wait."""
    start_comfyui()
    import torch
    from comfy.ldm.modules.attention import attention_pytorch

    from systems.qwen2vl_flux import network as qwen2vl_network
    from systems.qwen2vl_flux.encoder import load_qwen2vl

    from . import random_checkpoint

    torch.set_num_threads(1)
    widths = random_checkpoint.Widths(width=256, layers=2, vision_width=512, vision_depth=2, vocabulary=151_936)
    with tempfile.TemporaryDirectory() as place:
        own = load_qwen2vl(random_checkpoint.write(Path(place) / "random", widths))
    picture = torch.rand(1, 512, 512, 3, generator=torch.Generator().manual_seed(0))

    def seconds(tokens: int) -> float:
        began = time.process_time()
        own.encode(picture, tokens)
        return time.process_time() - began

    lines = []
    with torch.inference_mode():
        for tokens in TOKENS:
            seconds(tokens)
            ratios = []
            for _ in range(PAIRS):
                parts = seconds(tokens)
                with patch.object(qwen2vl_network, "attention_for", lambda *_, **__: attention_pytorch):
                    ratios.append(parts / seconds(tokens))
            lines.append(f"{tokens} tokens {statistics.median(ratios):.3f}")
    return f"an encode that can be interrupted, processor time against one that cannot: {', '.join(lines)}"
