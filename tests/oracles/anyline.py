"""controlnet-aux's AnylineDetector (PyPI: controlnet-aux 0.0.10) on given pictures.

  anyline.py in.safetensors out.safetensors <folder> <file .pth in it> <resolution>

in: pictures [H, W, 3] uint8 by name. out, for each: lines.<name> [H, W, 3] uint8, and logits.<name> [4, h, w] of its
network.
"""

from __future__ import annotations

import sys

import cv2
import torch
from controlnet_aux import AnylineDetector
from safetensors.torch import load_file, save_file


def main(given: str, made: str, folder: str, file: str, resolution: str) -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    detector = AnylineDetector.from_pretrained(folder, filename=file)
    logits = []
    detector.model.register_forward_hook(lambda model, inputs, outputs: logits.append(torch.cat(outputs, dim=1)[0]))
    results = {}
    for name, picture in load_file(given).items():
        lines = detector(picture.numpy(), detect_resolution=int(resolution), output_type="np")
        results |= {f"lines.{name}": torch.from_numpy(lines), f"logits.{name}": logits.pop()}
    save_file({name: value.contiguous() for name, value in results.items()}, made)


if __name__ == "__main__":
    main(*sys.argv[1:])
