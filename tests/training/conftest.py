"""What the tests of the training share. They run in an environment of their own (`dev.py test` makes it)."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import comfy.text_encoders
import pytest
import torch
from accelerate.state import AcceleratorState
from PIL import Image, ImageDraw
from safetensors.torch import save_file

from training.qwen2vl_flux import samples

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def each_run_by_itself():
    """accelerate keeps its settings for the whole process, and a test may run it with others."""
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture(scope="session")
def demo(root) -> Path:
    return root / "demo"


@pytest.fixture(scope="session")
def pictures(tmp_path_factory) -> Path:
    """Six pictures of 128 pixels with one shape each, in a folder of their own."""
    folder = tmp_path_factory.mktemp("pictures")
    for number, (ground, shape) in enumerate(
        [("navy", "gold"), ("white", "red"), ("black", "cyan"), ("tan", "purple"), ("green", "white"), ("red", "blue")]
    ):
        picture = Image.new("RGB", (128, 128), ground)
        draw = ImageDraw.Draw(picture)
        box = (16 + 8 * number, 30, 70 + 8 * number, 90)
        (draw.ellipse if number % 2 else draw.rectangle)(box, shape)
        picture.save(folder / f"{number}.png")
    return folder


@pytest.fixture(scope="session")
def train_py(root) -> ModuleType:
    """The root script as a module."""
    spec = importlib.util.spec_from_file_location("train", root / "train.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def train_script(train_py, monkeypatch, capsys) -> Callable[..., tuple[int, str, str]]:
    """train_script(*arguments) runs train.py in this process, with small sheets of samples, and gives its exit status
    and what it said."""
    monkeypatch.setattr(samples, "STEPS", 2)
    monkeypatch.setattr(samples, "LINES", 2)

    def run(*arguments: object) -> tuple[int, str, str]:
        AcceleratorState._reset_state(reset_partial_state=True)
        monkeypatch.setattr(sys, "argv", ["train.py", *map(str, arguments)])
        try:
            train_py.main()
            status = 0
        except SystemExit as end:
            status = end.code
        return status, *capsys.readouterr()

    return run


@pytest.fixture(scope="session")
def with_tokenizer(demo, tmp_path_factory) -> Path:
    """The demo checkpoint with the tokenizer of T5 in its published place."""
    folder = Path(shutil.copytree(demo, tmp_path_factory.mktemp("checkpoints") / "with_tokenizer"))
    words = Path(comfy.text_encoders.__path__[0]) / "t5_tokenizer"
    shutil.copytree(words, folder / "flux" / "tokenizer_2", dirs_exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def flux1_like(demo, tmp_path_factory) -> Path:
    """The demo checkpoint with a FLUX of FLUX.1's 19 double and 38 single blocks, narrow and of random numbers."""
    from diffusers import FluxTransformer2DModel

    folder = tmp_path_factory.mktemp("checkpoints") / "flux1_like"
    shutil.copytree(demo, folder)
    place = folder / "flux" / "transformer"
    config = json.loads((place / "config.json").read_text())
    for path in place.iterdir():
        path.unlink()
    config.update(num_layers=19, num_single_layers=38)
    (place / "config.json").write_text(json.dumps(config))
    generator = torch.Generator().manual_seed(0)
    with torch.device("meta"):
        shapes = {name: value.shape for name, value in FluxTransformer2DModel.from_config(config).state_dict().items()}
    state = {name: torch.randn(shape, generator=generator).mul(0.05).bfloat16() for name, shape in shapes.items()}
    save_file(state, place / "diffusion_pytorch_model.safetensors")
    return folder
