"""What the published Qwen2VL-Flux computes on a tiny seeded model, and that model in the published folder layout.

The numbers in data/qwen2vl_flux were made once by the unmodified published code (transformers 4.45.2, diffusers
0.30.3, float32 on a CPU).
"""

from __future__ import annotations

import json
import shutil
import zlib
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

DATA = Path(__file__).parent / "data" / "qwen2vl_flux"
STORED_AS = {
    "qwen2vl": torch.bfloat16,
    "transformer": torch.bfloat16,
    "controlnet": torch.bfloat16,
    "connector": torch.float32,
    "t5_embedder": torch.float32,
}


def golden(name: str) -> dict[str, torch.Tensor]:
    """Stored inputs or outputs by name."""
    return load_file(DATA / f"{name}.safetensors")


def picture(name: str) -> torch.Tensor:
    """A stored picture as a ComfyUI IMAGE [1, H, W, 3]."""
    pixels = np.asarray(Image.open(DATA / name).convert("RGB"), dtype=np.float32)
    return torch.from_numpy(pixels / 255)[None]


def relative_error(value: torch.Tensor, reference: torch.Tensor) -> float:
    """max|value - reference| / max|reference|."""
    assert value.shape == reference.shape
    return ((value - reference).abs().max() / reference.abs().max()).item()


def seeded_weight(name: str, shape: list[int], salt: str) -> torch.Tensor:
    """The tensor of that name: numpy's frozen legacy generator, rounded to bfloat16, float32."""
    seed = zlib.crc32(f"{salt}|{name}".encode())
    values = np.random.RandomState(seed).standard_normal(size=shape).astype(np.float32)
    if len(shape) == 1:
        bias = name.rsplit(".", 1)[-1] == "bias"
        values = values * np.float32(0.05) if bias else np.float32(1) + np.float32(0.1) * values
    elif "embed_tokens" not in name and "mode_embedder" not in name:
        values = values * np.float32(1 / np.sqrt(int(np.prod(shape[1:]))))
    return torch.from_numpy(values).to(torch.bfloat16).float()


def stand_in_latent(image: torch.Tensor) -> torch.Tensor:
    """The latent [B, 16, H / 8, W / 8] that the goldens' stand-in for a VAE makes of an IMAGE [B, H, W, 3]."""
    seed = zlib.crc32(b"input|stubvae")
    weight = np.random.RandomState(seed).standard_normal(size=(16, 192)) / 192**0.5
    blocks = torch.nn.functional.pixel_unshuffle(image.movedim(-1, 1) * 2 - 1, 8)
    return torch.einsum("oc,bchw->bohw", torch.from_numpy(weight.astype(np.float32)), blocks) * 5.0 + 0.2


class StandInVAE:
    """The goldens' stand-in for FLUX's VAE, as VAE Encode and a ControlNet call one."""

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        return stand_in_latent(pixels[..., :3])

    def spacial_compression_encode(self) -> int:
        return 8


def write_checkpoint(folder: Path) -> Path:
    """The tiny checkpoint: qwen2-vl, connector.pt, t5_embedder.pt, flux/transformer in shards, controlnet."""
    shutil.copytree(DATA / "ckpt", folder, dirs_exist_ok=True)
    files: dict[str, dict[str, torch.Tensor]] = {}
    for salt, tensors in json.loads((DATA / "weights_manifest.json").read_text()).items():
        for key, entry in tensors.items():
            weight = seeded_weight(key.removeprefix("module."), entry["shape"], salt)
            files.setdefault(entry["file"], {})[key] = weight.to(STORED_AS[salt]).contiguous()
    for name, state in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".pt":
            torch.save(state, path)
        else:
            save_file(state, path, metadata={"format": "pt"})
    return folder
