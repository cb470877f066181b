"""SAM 2's time against Meta's own predictor (the environment of oracles that `dev.py test` makes), taken in turns."""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

from .pack import ROOT, import_pack, start_comfyui

TURNS = 3
SIZE = (768, 1024)


def run() -> str:
    """Ratio of medians for one picture and one point, as text."""
    published = next((ROOT / ".dev" / "oracles").glob("[Ll]ib/**/site-packages"), None)
    if published is None:
        return "SAM 2: not measured, since Meta's code is not there; python3 dev.py test sets it up"
    start_comfyui()
    import_pack()
    import torch

    from qwen2vl_flux_pack.models.sam2 import at_picture_size, load_sam2, pixels_of
    from qwen2vl_flux_pack.points import Point, Prompt

    sys.path.append(str(ROOT / "tests"))
    sys.path.append(str(published))  # last, so that everything else stays ComfyUI's
    from annotator_weights import write_sam2
    from sam2.build_sam import build_sam2
    from sam2.sam2_image_predictor import SAM2ImagePredictor

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

    ways = {"pack": pack, "package": package}
    with torch.inference_mode():
        masks = {name: way() for name, way in ways.items()}
        seconds = {name: [] for name in ways}
        for _ in range(TURNS):
            for name, way in ways.items():
                began = time.perf_counter()
                way()
                seconds[name].append(time.perf_counter() - began)
    error = ((masks["pack"] - masks["package"]).abs().max() / masks["package"].abs().max()).item()
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    return (
        f"SAM 2.1 tiny, one picture of {SIZE[1]}x{SIZE[0]} and a point: {medians['pack']:.2f} s against the "
        f"{medians['package']:.2f} s of Meta's predictor, ratio {medians['pack'] / medians['package']:.2f} "
        f"(medians of {TURNS} turns, float32; logits differ by {error:.1e})"
    )
