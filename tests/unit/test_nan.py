"""Weights that hold NaN or infinity: they load, and a line in the log says why pictures come out black."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from annotator_weights import write_depth, write_mteed, write_sam2
from control_weights import write_union
from safetensors.torch import load_file, save_file

from systems.annotators.anyline.annotator import load_anyline
from systems.annotators.depth_anything.annotator import load_depth_anything
from systems.annotators.sam2.annotator import load_sam2
from systems.flux_union.checkpoint import load_controlnet
from systems.qwen2vl_flux.encoder import load_qwen2vl
from systems.qwen2vl_flux.flux import load_text_encoders, load_transformer, load_vae

NAN, INFINITY = float("nan"), float("-inf")


def in_safetensors(path: Path, name: str, place: tuple[int, ...], value: float) -> None:
    state = load_file(path)
    state[name] = state[name].float()
    state[name][place] = value
    path.unlink()
    save_file(state, path, metadata={"format": "pt"})


def in_pt(path: Path, name: str, place: tuple[int, ...], value: float) -> None:
    state = torch.load(path, weights_only=True)
    (state.get("model", state))[name][place] = value
    path.unlink()
    torch.save(state, path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Path:
    """The demo, with annotators and a ControlNet of random weights."""
    folder = tmp_path_factory.mktemp("whole") / "ckpt"
    for part in ("qwen2-vl", "flux"):
        shutil.copytree(root / "demo" / part, folder / part)
    write_union(folder / "controlnet")
    write_depth(folder / "depth.pth")
    write_mteed(folder / "lines.safetensors")
    write_sam2(folder / "sam2.pt")
    return folder


@pytest.fixture
def checkpoint(whole: Path, tmp_path: Path) -> Path:
    """The same files by other links, so that what is put in place of one stays here."""
    return shutil.copytree(whole, tmp_path / "ckpt", copy_function=os.link)


FLUX, T5 = "flux/transformer", "flux/text_encoder_2"
PARTS: dict[str, tuple[Callable[[Path], object], str, str, tuple[int, ...], float]] = {
    "connector": (load_qwen2vl, "qwen2-vl/connector.pt", "linear.weight", (-1, -1), NAN),
    "text projection": (load_qwen2vl, "qwen2-vl/t5_embedder.pt", "bias", (3,), INFINITY),
    "encoder's norm": (load_qwen2vl, "qwen2-vl", "model.norm.weight", (-1,), NAN),
    "encoder's matrix": (load_qwen2vl, "qwen2-vl", "model.layers.0.mlp.gate_proj.weight", (0, -1), INFINITY),
    "FLUX": (load_transformer, FLUX, "proj_out.bias", (-1,), NAN),
    "FLUX's matrix": (load_transformer, FLUX, "x_embedder.weight", (0, 2), NAN),
    "T5": (lambda folder: load_text_encoders(folder, t5=True), T5, "encoder.final_layer_norm.weight", (0,), NAN),
    "VAE": (load_vae, "flux/vae", "taesd_decoder.3.conv.0.bias", (-1,), INFINITY),
    "ControlNet": (
        lambda folder: load_controlnet(folder / "controlnet"), "controlnet", "controlnet_blocks.0.bias", (5,), NAN,
    ),
    "depth": (
        lambda folder: load_depth_anything(folder / "depth.pth"), "depth.pth", "pretrained.norm.weight", (9,), NAN,
    ),
    "lines": (
        lambda folder: load_anyline(folder / "lines.safetensors"), "lines.safetensors", "side_1.conv.weight",
        (-1, -1, 0, 0), INFINITY,
    ),
    "SAM 2": (lambda folder: load_sam2(folder / "sam2.pt"), "sam2.pt", "no_mem_embed", (0, 0, 7), NAN),
}  # fmt: skip


def file_of(checkpoint: Path, where: str, name: str) -> Path:
    """The file that holds a tensor: `where` itself, or one of that folder."""
    path = checkpoint / where
    indices = list(path.glob("*.index.json")) if path.is_dir() else []
    if indices:
        return path / json.loads(indices[0].read_text())["weight_map"][name]
    return next(path.glob("*.safetensors")) if path.is_dir() else path


@pytest.mark.parametrize("load, where, name, place, value", PARTS.values(), ids=PARTS)
def test_a_warning_names_file_and_tensor(checkpoint, caplog, load, where, name, place, value):
    file = file_of(checkpoint, where, name)
    with caplog.at_level(logging.WARNING):
        load(checkpoint)
    assert "NaN" not in caplog.text
    (in_safetensors if file.suffix == ".safetensors" else in_pt)(file, name, place, value)
    with caplog.at_level(logging.WARNING):
        load(checkpoint)
    warnings = [record.getMessage() for record in caplog.records if "NaN" in record.getMessage()]
    assert len(warnings) == 1 and str(file) in warnings[0] and warnings[0].isascii()
    assert name.removeprefix("linear.") in warnings[0]
    assert warnings[0].endswith("download it again.")
