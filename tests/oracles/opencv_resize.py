"""OpenCV's resizes of given pictures.

  opencv_resize.py in.safetensors out.safetensors

in: pictures [H, W, 3] uint8 named 0, 1, ...; sizes [N, 2], width and height for each. out: linear.N, lanczos.N, area.N.
"""

from __future__ import annotations

import sys

import cv2
import torch
from safetensors.torch import load_file, save_file

WAYS = {"linear": cv2.INTER_LINEAR, "lanczos": cv2.INTER_LANCZOS4, "area": cv2.INTER_AREA}


def main(given: str, made: str) -> None:
    pictures = load_file(given)
    sizes = pictures.pop("sizes").tolist()
    results = {
        f"{way}.{name}": torch.from_numpy(cv2.resize(picture.numpy(), sizes[int(name)], interpolation=flag))
        for name, picture in pictures.items()
        for way, flag in WAYS.items()
    }
    save_file(results, made)


if __name__ == "__main__":
    main(*sys.argv[1:])
