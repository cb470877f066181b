"""What a run shows of itself: sheets of samples, made as the nodes make pictures, and the training curve."""

from __future__ import annotations

import json
import shutil

import comfy.sample
import comfy.samplers
import numpy as np
import pytest
import torch
from goldens import relative_error
from PIL import Image

from systems.common.schedules import flux_sigmas
from systems.qwen2vl_flux.flux import load_transformer
from training.curve import draw_curve
from training.generators import generator_for
from training.qwen2vl_flux.batch import Batch
from training.qwen2vl_flux.networks import read_networks
from training.qwen2vl_flux.samples import GAP, contact_sheet
from training.qwen2vl_flux.sampling import sample_latents


@pytest.mark.parametrize("guidance, agrees", [(3.5, True), (1.0, False)])
def test_sampler(demo, guidance, agrees):
    """ComfyUI's Euler sampler gives the same latents under the same conditioning."""
    networks = read_networks(demo, lambda double, single: ())
    generator = generator_for(0)
    noise = torch.randn(2, 16, 8, 12, generator=generator)
    tokens = torch.randn(2, 9, networks.connector.in_features, generator=generator)
    pooled = torch.randn(2, networks.flux.config.pooled_projection_dim, generator=generator)
    batch = Batch(noise, tokens, pooled=pooled)
    latents = sample_latents(networks, batch, noise, 3, guidance)
    with torch.no_grad():
        context = networks.context(batch)
    conditioning = [[context, {"pooled_output": pooled, "guidance": 3.5}]]
    sigmas = torch.from_numpy(flux_sigmas(3, 1.0, 96, 64))
    model = load_transformer(demo)
    sampler, empty = comfy.samplers.sampler_object("euler"), torch.zeros_like(noise)
    made = comfy.sample.sample_custom(
        model, noise, 1.0, sampler, sigmas, conditioning, conditioning, model.model.process_latent_out(empty)
    )
    error = relative_error(latents, model.model.process_latent_in(made))
    assert error <= 1e-5 if agrees else error > 1e-3


def test_sheets_of_a_run(train_script, demo, pictures, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    for name in ("0.png", "1.png"):
        shutil.copy(pictures / name, data)
    flags = "--blocks all --side 64 --batch_size 1 --accumulation 1 --steps 2 --save_every 1 --sample_every 2".split()
    given = ["--checkpoint", demo, "--data", data, "--output", tmp_path, "--precision", "bf16", *flags]
    assert train_script(*given)[0] == 0
    (sheet,) = (tmp_path / "samples").iterdir()
    assert sheet.name == "step-000002.png"
    picture = Image.open(sheet)
    assert picture.size == (4 * (64 + GAP) + GAP, 2 * (64 + GAP) + GAP)
    reference = Image.open(pictures / "0.png").resize((64, 64), Image.Resampling.LANCZOS)
    shown = picture.crop((GAP, GAP, GAP + 64, GAP + 64))
    corners = [(2, 2), (60, 60), (20, 30)]
    assert all(
        max(abs(a - b) for a, b in zip(shown.getpixel(at), reference.getpixel(at), strict=True)) < 40 for at in corners
    )
    variations = [picture.crop((GAP + x * 72, GAP, GAP + x * 72 + 64, GAP + 64)).tobytes() for x in (1, 2, 3)]
    assert len(set(variations)) == 3
    assert Image.open(tmp_path / "curve.png").size == (960, 480)


def test_small_pictures_stay_small():
    sheet = contact_sheet([[Image.new("RGB", (500, 250), "red"), Image.new("RGB", (32, 16), "blue")]])
    assert sheet.size == (2 * (32 + GAP) + GAP, 32 + 2 * GAP)
    assert sheet.getpixel((GAP + 16, GAP + 16)) == (255, 0, 0) and sheet.getpixel((GAP + 1, GAP + 1)) == (255, 255, 255)


@pytest.mark.parametrize("values", [[1.0, 0.5, 0.4, 0.41], [2.0, 2.0], [1e-3, 5e3, 1.0]])
def test_curve(tmp_path, values):
    """Some ink of both lines, inside the axes; lines that are cut short do not count."""
    log = tmp_path / "log.jsonl"
    log.write_text("".join(json.dumps({"step": 10 * (n + 1), "loss": v}) + "\n" for n, v in enumerate(values)) + '{"st')
    draw_curve(log, tmp_path / "curve.png")
    pixels = np.asarray(Image.open(tmp_path / "curve.png"))
    _, columns = (pixels == (31, 95, 191)).all(-1).nonzero()
    assert len(columns) > 200 and columns.min() >= 72 and columns.max() <= pixels.shape[1] - 23


def test_no_curve_of_one_line(tmp_path):
    (tmp_path / "log.jsonl").write_text('{"step": 1, "loss": 2.0}\n')
    draw_curve(tmp_path / "log.jsonl", tmp_path / "curve.png")
    assert not (tmp_path / "curve.png").exists()
