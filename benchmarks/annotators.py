"""Depth and line maps against transformers and controlnet-aux on the same random weights and image."""

from __future__ import annotations

import tempfile
from pathlib import Path

from .comfyui import start_comfyui
from .others import in_turns, measured_there

SIDES = (480, 640)


def run() -> str:
    """Ratios of medians, as text."""
    return measured_there("annotators")


def measure() -> str:
    """One line of text for depth and one for lines."""
    start_comfyui()
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

    from systems.annotators.depth_anything.annotator import load_depth_anything

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
    return "depth, vits, 640x480: " + in_turns(lambda: own.depth(image), "transformers", transformers)


def _lines(place: Path, picture) -> str:
    import torch
    from controlnet_aux import AnylineDetector
    from controlnet_aux.teed.ted import TED

    from systems.annotators.anyline.annotator import load_anyline

    torch.save(TED().state_dict(), place / "MTEED.pth")
    detector = AnylineDetector.from_pretrained(str(place), filename="MTEED.pth")
    own = load_anyline(place / "MTEED.pth")
    image, values = picture[None].float() / 255, picture.numpy()
    return "lines, 640x480 at 1280: " + in_turns(
        lambda: own.lines(image), "controlnet-aux", lambda: detector(values, output_type="np")
    )
