"""Checkpoints of a run: the published folder for every loader, and never a broken one."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from systems.common.errors import CheckpointError
from systems.common.weights.shards import WeightFiles
from systems.qwen2vl_flux.checkpoint import open_encoder, read_linear
from systems.qwen2vl_flux.encoder import load_qwen2vl
from systems.qwen2vl_flux.flux import load_text_encoders, load_transformer, load_vae
from training.generators import generator_for
from training.output import Output
from training.qwen2vl_flux.batch import Batch, Patches
from training.qwen2vl_flux.checkpoint import COMPONENTS, export
from training.qwen2vl_flux.flow import RectifiedFlow
from training.qwen2vl_flux.networks import Networks, read_networks
from training.qwen2vl_flux.optimizer import adamw
from training.qwen2vl_flux.recipe import Qwen2VLFluxRecipe
from training.trainer import train

RECIPE = Qwen2VLFluxRecipe(
    steps=4, accumulation=1, precision="no", gradient_checkpointing=False, save_every=2, sample_every=0,
    flux_lr=1e-3, connector_lr=1e-3, qwen_lr=1e-3,
)  # fmt: skip
MEGABYTE = 1 << 20


class Random:
    """Random latents and pictures of a 4 x 6 patch grid, for an encoder that trains."""

    def __init__(self, networks: Networks):
        self.vision = networks.qwen.config.vision

    def batch(self, step: int, part: int, rank: int) -> Batch:
        generator = generator_for(step)
        values = 3 * self.vision.temporal_patch * self.vision.patch**2
        patches = torch.randn(1, 24, values, generator=generator)
        return Batch(torch.randn(1, 16, 4, 6, generator=generator), Patches(patches, 4, 6))


def begin(demo: Path, output: Output, recipe: Qwen2VLFluxRecipe = RECIPE, resume: bool = False) -> Networks:
    networks = read_networks(demo, lambda double, single: (0, double), qwen_layers=1)
    with output.claim():
        train(
            recipe,
            networks,
            Random(networks),
            RectifiedFlow(),
            output,
            optimizers=lambda trained: [adamw(recipe, trained)],
            export=partial(export, demo),
            resume=resume,
        )
    return networks


@pytest.fixture(scope="module")
def trained(demo, tmp_path_factory) -> tuple[Networks, Path]:
    """Networks after a run of two FLUX blocks, the connector and one layer of the encoder, and their checkpoint."""
    output = Output(tmp_path_factory.mktemp("run"))
    networks = begin(demo, output)
    return networks, output.newest()[1]


def test_published_layout(trained, demo):
    """The same files with the same names; the same tensors in the same shards, in the same formats; only what trained
    has changed, and to what the networks hold."""
    networks, folder = trained
    for component in COMPONENTS:
        files = {path.relative_to(demo) for path in (demo / component).rglob("*")}
        assert {path.relative_to(folder) for path in (folder / component).rglob("*")} == files
    for prefix, opened in (
        ("flux.", [WeightFiles(place / "flux/transformer", "diffusion_pytorch_model") for place in (folder, demo)]),
        ("qwen.", [open_encoder(place / "qwen2-vl") for place in (folder, demo)]),
    ):
        new, old = opened
        places = [{name: (info.file.name, info.shape) for name, info in files.infos.items()} for files in opened]
        assert places[0] == places[1]
        for name in new.infos:
            value = networks.trainable().get(prefix + name)
            one, two = new.read(name, torch.float32), old.read(name, torch.float32)
            assert torch.equal(one, two if value is None else value.detach().bfloat16().float())
            assert value is None or not torch.equal(one, two)
    names = [list(torch.load(place / "qwen2-vl" / "connector.pt", weights_only=True)) for place in (folder, demo)]
    assert names[0] == names[1]
    connector = read_linear(folder / "qwen2-vl" / "connector.pt")
    stored = read_linear(demo / "qwen2-vl" / "connector.pt")["weight"]
    assert connector["weight"].dtype == stored.dtype
    assert torch.equal(connector["weight"], networks.connector.weight.detach().to(stored.dtype))


def test_the_packs_own_loaders(trained, demo):
    networks, folder = trained
    flux = load_transformer(folder).model.diffusion_model.state_dict()
    assert torch.equal(flux["txt_in.weight"].float(), networks.flux.context_embedder.weight.detach().bfloat16().float())
    qwen2vl = load_qwen2vl(folder)
    last = qwen2vl.network.state_dict()[f"model.layers.{qwen2vl.config.layers - 1}.mlp.up_proj.weight"]
    layer = networks.qwen.model.layers[-1].mlp.up_proj.weight.detach()
    assert torch.equal(last.float(), layer.bfloat16().float())
    load_vae(folder)
    load_text_encoders(folder, t5=True)


def test_unchanged_files_are_links(trained, demo):
    _, folder = trained
    shared = "flux/vae/diffusion_pytorch_model.safetensors"
    if os.stat(demo).st_dev == os.stat(folder).st_dev:
        assert os.path.samefile(folder / shared, demo / shared)
    assert (folder / shared).read_bytes() == (demo / shared).read_bytes()
    assert not os.path.samefile(folder / "qwen2-vl/connector.pt", demo / "qwen2-vl/connector.pt")


def test_one_tensor_of_a_projection(demo, tmp_path):
    """A bias that trained alone is written, and the weight beside it stays bit for bit."""
    own = read_linear(demo / "qwen2-vl" / "t5_embedder.pt")
    export(demo, {"t5_embedder.bias": -own["bias"]}, tmp_path / "made")
    made = read_linear(tmp_path / "made" / "qwen2-vl" / "t5_embedder.pt")
    assert torch.equal(made["weight"], own["weight"]) and torch.equal(made["bias"], -own["bias"])


def test_linked_folders(trained, demo, tmp_path):
    """Parts of the base that are links to folders elsewhere are written like all others."""
    networks, _ = trained
    base = Path(shutil.copytree(demo, tmp_path / "base"))
    for part in ("transformer", "text_encoder_2"):
        (base / "flux" / part).rename(tmp_path / part)
        (base / "flux" / part).symlink_to(tmp_path / part, target_is_directory=True)
    export(base, networks.trainable(), tmp_path / "made")
    files = [{path.relative_to(place) for path in place.rglob("*")} for place in (tmp_path / "made", demo)]
    assert files[0] == {path for path in files[1] if path.parts[0] in COMPONENTS}
    trained_one = "context_embedder.weight"
    made, own = (
        WeightFiles(place / "flux/transformer", "diffusion_pytorch_model").read(trained_one, torch.float32)
        for place in (tmp_path / "made", demo)
    )
    assert not torch.equal(made, own)


def test_a_run_from_a_checkpoint(trained, tmp_path):
    """A checkpoint is the base of another run, on a disk of its own where nothing can be linked, or here."""
    _, folder = trained
    output = Output(tmp_path)
    networks = begin(folder, output, replace(RECIPE, steps=1))
    name = "flux.context_embedder.weight"
    before = WeightFiles(folder / "flux/transformer", "diffusion_pytorch_model").read(name[5:], torch.float32)
    assert 0 < (networks.trainable()[name] - before).abs().max() < 2e-3


# ---- a full disk -----------------------------------------------------------------------------------------------------


@contextmanager
def small_disk(folder: Path) -> Iterator[Callable[[int], None]]:
    """A file system of its own, in memory; its size is set by what comes out, in megabytes. Skips where not allowed."""
    options = ["-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.name != "posix" or subprocess.run(["mount", *options], capture_output=True).returncode:
        pytest.skip("this user may not mount a file system")
    try:
        yield lambda size: subprocess.run(["mount", "-o", f"remount,size={size}m", str(folder)], check=True)
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_full_disk(demo, tmp_path):
    """The old checkpoint stays whole, nothing of the new one is left, and with room the run goes on to its end."""
    whole = Output(tmp_path / "whole")
    begin(demo, whole)
    place = tmp_path / "disk"
    place.mkdir()
    needed = sum(path.stat().st_size for path in whole.checkpoint(4).rglob("*") if path.is_file()) / MEGABYTE
    with small_disk(place) as resize:
        resize(int(1.6 * needed))
        output = Output(place / "run")
        with pytest.raises(CheckpointError) as raised:
            begin(demo, output)
        sentence = str(raised.value)
        assert sentence.startswith(f"The checkpoint of step 4 could not be written to {output.checkpoints} (")
        assert "No space left on device" in sentence and "step-000002 is whole" in sentence and "\n" not in sentence
        assert not output.partial() and output.newest()[0] == 2
        load_transformer(output.checkpoint(2))
        resize(int(4 * needed))
        begin(demo, output, resume=True)
        one, two = (load_file(each.checkpoint(4) / "training/state.safetensors") for each in (whole, output))
        assert set(one) == set(two) and all(torch.equal(value, two[name]) for name, value in one.items())


def test_no_room_for_the_log(train_script, demo, pictures, tmp_path):
    with small_disk(tmp_path):
        output = tmp_path / "run"
        output.mkdir()
        with pytest.raises(OSError), (tmp_path / "filler").open("wb", buffering=0) as filler:
            while True:
                filler.write(bytes(1 << 14))
        flags = "--blocks 0 --side 64 --batch_size 1 --accumulation 1 --steps 1 --sample_every 0 --precision no".split()
        status, _, said = train_script("--checkpoint", demo, "--data", pictures, "--output", output, *flags)
    assert status == 1 and "No space left on device" in said and said.count("\n") == 1 and said.endswith(".\n"), said


def test_files_of_bounded_size(demo, tmp_path):
    """The same where a limit of the system, not the disk, stops the first checkpoint."""
    resource = pytest.importorskip("resource")
    output = Output(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MEGABYTE, hard))
    try:
        with pytest.raises(
            CheckpointError, match=r"^The checkpoint of step 2 .*\(.*\), and there is no earlier one; make"
        ):
            begin(demo, output)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert output.newest() is None and not output.partial()


# ---- states that do not fit ------------------------------------------------------------------------------------------


def test_damaged_states(trained, demo, tmp_path):
    _, folder = trained
    for name, spoil, sentence in (
        ("cut", lambda path: path.write_bytes(path.read_bytes()[:-100]), "is cut short or damaged"),
        ("gone", Path.unlink, "is missing"),
        ("other", lambda path: shutil.copy(demo / "flux/vae/diffusion_pytorch_model.safetensors", path),
         "is not the state of this run"),
    ):  # fmt: skip
        output = Output(tmp_path / name)
        shutil.copytree(folder.parent.parent, output.root)
        spoil(output.newest()[1] / "training" / "state.safetensors")
        remedy = "put the run's own file back, or begin a new run from .*step-000004 as its checkpoint"
        with pytest.raises(CheckpointError, match=rf"state\.safetensors {sentence}; {remedy}\.$"):
            begin(demo, output, resume=True)
