"""Meta's SAM2ImagePredictor (PyPI: sam2) on given pictures: prompts in, mask logits, scores and pixels out.

  segment_anything_2.py in.safetensors out.safetensors <checkpoint .pt> <configuration> <prompts as JSON>

in: pictures [H, W, 3] uint8 by name. prompts: [{"picture": name, "points": [[x, y], ...] or null, "labels": [...] or
null, "box": [x0, y0, x1, y1] or null}, ...] in fractions of width and height. out, for prompt N: low.N [3, 256, 256],
high.N [3, H, W], scores.N [3]; for each picture: pixels.<name>.
"""

from __future__ import annotations

import json
import sys

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from sam2.build_sam import build_sam2
from sam2.sam2_image_predictor import SAM2ImagePredictor


def main(given: str, made: str, checkpoint: str, configuration: str, prompts: str) -> None:
    torch.set_num_threads(1)
    pictures = {name: picture.numpy() for name, picture in load_file(given).items()}
    predictor = SAM2ImagePredictor(build_sam2(configuration, checkpoint, device="cpu"))
    results, last = {}, None
    for number, prompt in enumerate(json.loads(prompts)):
        picture = pictures[prompt["picture"]]
        if prompt["picture"] != last:
            predictor.set_image(picture)
            last = prompt["picture"]
            results[f"pixels.{last}"] = predictor._transforms(picture)
        height, width = picture.shape[:2]
        size = np.array([width, height], dtype=np.float64)
        points, box = prompt["points"], prompt["box"]
        arguments = {
            "point_coords": None if points is None else np.array(points) * size,
            "point_labels": None if points is None else np.array(prompt["labels"]),
            "box": None if box is None else np.array(box) * np.tile(size, 2),
        }
        _, coordinates, labels, corners = predictor._prep_prompts(*arguments.values(), None, True)
        high, scores, low = predictor._predict(coordinates, labels, corners, return_logits=True)
        results |= {f"high.{number}": high[0], f"scores.{number}": scores[0], f"low.{number}": low[0]}
    save_file({name: tensor.detach().float().contiguous() for name, tensor in results.items()}, made)


if __name__ == "__main__":
    main(*sys.argv[1:])
