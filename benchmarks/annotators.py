"""Depth and line maps against transformers and controlnet-aux on the same random weights and picture, taken in turns.

All of it runs in one process of the environment that dev.py sets up for the tests' oracles.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from .pack import ROOT, import_pack, start_comfyui

TURNS = 3
SIDES = (480, 640)


def run() -> str:
    """Ratios of medians, as text."""
    command = [os.environ["ORACLE_PYTHON"], "-c", "from benchmarks.annotators import measure; print(measure())"]
    quiet = {**os.environ, "PYTHONWARNINGS": "ignore", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, cwd=ROOT, env=quiet, check=True, stdout=subprocess.PIPE, text=True)
    return "\n".join(line for line in done.stdout.splitlines() if line.startswith(("depth", "lines")))


def measure() -> str:
    """One line of text for depth and one for lines."""
    start_comfyui()
    import_pack()
    import cv2
    import torch

    cv2.setNumThreads(torch.get_num_threads())
    torch.manual_seed(0)
    picture = torch.randint(0, 256, (*SIDES, 3), dtype=torch.uint8)
    with tempfile.TemporaryDirectory() as place, torch.inference_mode():
        return f"{_depth(Path(place), picture)}\n{_lines(Path(place), picture)}"


def _depth(place: Path, picture) -> str:
    import torch
    from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation, Dinov2Config, DPTImageProcessor

    from qwen2vl_flux_pack.models.depth_anything import load_depth_anything

    backbone = Dinov2Config(
        image_size=518, hidden_size=384, num_attention_heads=6, out_indices=[3, 6, 9, 12], reshape_hidden_states=False
    )
    model = DepthAnythingForDepthEstimation(DepthAnythingConfig(backbone_config=backbone)).eval()
    model.save_pretrained(place / "hf")
    own = load_depth_anything(place / "hf")
    read = DPTImageProcessor(
        size={"height": 518, "width": 518}, keep_aspect_ratio=True, ensure_multiple_of=14,
        image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225],
    )  # fmt: skip

    def transformers() -> torch.Tensor:
        outputs = model(**read(images=picture.numpy(), return_tensors="pt"))
        return read.post_process_depth_estimation(outputs, target_sizes=[SIDES])[0]["predicted_depth"]

    image = picture[None].float() / 255
    return "depth, vits, 640x480: " + _ratio(lambda: own.depth(image), "transformers", transformers)


def _lines(place: Path, picture) -> str:
    import torch
    from controlnet_aux import AnylineDetector
    from controlnet_aux.teed.ted import TED

    from qwen2vl_flux_pack.models.anyline import load_anyline

    torch.save(TED().state_dict(), place / "MTEED.pth")
    detector = AnylineDetector.from_pretrained(str(place), filename="MTEED.pth")
    own = load_anyline(place / "MTEED.pth")
    image, values = picture[None].float() / 255, picture.numpy()
    return "lines, 640x480 at 1280: " + _ratio(
        lambda: own.lines(image), "controlnet-aux", lambda: detector(values, output_type="np")
    )


def _ratio(own: Callable[[], object], other: str, theirs: Callable[[], object]) -> str:
    ways = {"pack": own, other: theirs}
    seconds = {name: [] for name in ways}
    for way in ways.values():
        way()
    for _ in range(TURNS):
        for name, way in ways.items():
            began = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - began)
    pack, reference = (statistics.median(times) for times in seconds.values())
    return f"{pack:.2f} s, {other} {reference:.2f} s, ratio {pack / reference:.2f} (medians of {TURNS} turns)"
