"""SAM 2 against Meta's own predictor on the same random weights and image, and its overlay by size."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from .comfyui import ROOT, start_comfyui
from .others import in_turns, measured_there

SIZE = (768, 1024)
# The sizes of overlays: 3 and 12 megapixels.
SMALL, LARGE = (1500, 2000), (3000, 4000)


def run() -> str:
    """Ratios of medians, as text."""
    return measured_there("segmentation")


def measure() -> str:
    """One line of text for an image and a point, and one for overlays."""
    start_comfyui()
    return f"{_predicted()}\n{_overlaid()}"


def _predicted() -> str:
    import torch
    from sam2.build_sam import build_sam2
    from sam2.sam2_image_predictor import SAM2ImagePredictor

    from systems.annotators.sam2.annotator import at_picture_size, load_sam2, pixels_of
    from systems.annotators.sam2.points import Point, Prompt

    sys.path.append(str(ROOT / "tests"))
    from annotator_weights import write_sam2

    with tempfile.TemporaryDirectory() as place:
        path = write_sam2(Path(place) / "sam2.1_hiera_tiny.pt")
        own = load_sam2(path)
        predictor = SAM2ImagePredictor(
            build_sam2("configs/sam2.1/sam2.1_hiera_t.yaml", str(path), device=str(own.patcher.load_device))
        )
    picture = torch.randint(0, 256, (*SIZE, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    image, pixels = picture.float() / 255, picture.numpy()

    def pack() -> torch.Tensor:
        logits, _ = own.logits(own.embed(pixels_of(image)), Prompt((Point(0.3, 0.5),)))
        return at_picture_size(logits, *SIZE).cpu()

    def package() -> torch.Tensor:
        predictor.set_image(pixels)
        point = torch.tensor([[0.3 * SIZE[1], 0.5 * SIZE[0]]]).numpy()
        logits, _, _ = predictor.predict(point, torch.ones(1).numpy(), return_logits=True)
        return torch.from_numpy(logits)

    with torch.inference_mode():
        timed = in_turns(pack, "Meta's predictor", package)
        own_logits, logits = pack(), package()
    error = ((own_logits - logits).abs().max() / logits.abs().max()).item()
    return f"SAM 2.1 tiny, {SIZE[1]}x{SIZE[0]} and a point: {timed}; logits differ by {error:.1e}"


def _overlaid() -> str:
    import torch

    from systems.annotators.sam2.overlay import overlay

    generator = torch.Generator().manual_seed(0)
    of = {size: [torch.rand(*size, *more, generator=generator) for more in ((3,), ())] for size in (SMALL, LARGE)}
    small, large = (lambda size=size: overlay(of[size][0], of[size][1].round(), (), ()) for size in (SMALL, LARGE))
    return "SAM 2's overlay of 12 megapixels: " + in_turns(large, "3 megapixels", small)
