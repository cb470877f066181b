"""A real ComfyUI, in this process and as a server."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from goldens import write_checkpoint

ROOT = Path(__file__).resolve().parent.parent
COMFYUI = Path(os.environ.get("COMFYUI_PATH") or ROOT / ".dev" / "ComfyUI").resolve()
# The web interface in place of the one that ComfyUI's requirements name, for its servers.
FRONTEND = ["--front-end-root", os.environ["FRONTEND_ROOT"]] if os.environ.get("FRONTEND_ROOT") else []


def _start_comfyui() -> None:
    sys.path.insert(0, str(COMFYUI))  # ahead of the pack's own folder nodes/, which would shadow ComfyUI's nodes.py
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning threads starve the server beside us
    os.environ.setdefault("MKL_CBWR", "COMPATIBLE")  # sums in one order on every processor, that of the goldens
    import torch
    from comfy.cli_args import args

    args.cpu = not torch.cuda.is_available()

    from systems.qwen2vl_flux.folders import CHECKPOINTS

    CHECKPOINTS.register()  # as the pack does when ComfyUI loads it


_start_comfyui()

from client.comfy_client import ComfyClient  # noqa: E402
from client.server import ComfyServer  # noqa: E402


class _PackIsNoTestPackage:
    """pytest would import the repository's own `__init__.py` as a package of tests, by whatever name its folder has."""

    @staticmethod
    def pytest_collect_directory(path: Path, parent: pytest.Collector) -> pytest.Dir | None:
        return pytest.Dir.from_parent(parent, path=path) if path.samefile(ROOT) else None


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(_PackIsNoTestPackage())  # its hook reaches above this folder, a conftest's does not


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def tools() -> Path:
    """The folder with the programs `comfy` and `ruff`."""
    return ROOT / ".dev" / "tools" / ("Scripts" if os.name == "nt" else "bin")


@pytest.fixture(scope="session")
def clients() -> Path:
    """The folder with `python` and the programs of the clients that tests run prompts with."""
    return ROOT / ".dev" / "clients" / ("Scripts" if os.name == "nt" else "bin")


@pytest.fixture(scope="session")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict]:
    """Published code in an environment of its own: oracle(name, tensors, *arguments) gives the tensors that
    `tests/oracles/<name>.py in.safetensors out.safetensors *arguments` makes of the given ones."""
    from safetensors.torch import load_file, save_file

    in_environment = Path("Scripts", "python.exe") if os.name == "nt" else Path("bin", "python")
    python = os.environ.get("ORACLE_PYTHON") or ROOT / ".dev" / "oracles" / in_environment
    offline = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore"}

    def run(name: str, tensors: dict, *arguments: object) -> dict:
        folder = tmp_path_factory.mktemp(name)
        given, made = folder / "in.safetensors", folder / "out.safetensors"
        save_file({key: value.contiguous() for key, value in tensors.items()}, given)
        command = [python, ROOT / "tests" / "oracles" / f"{name}.py", given, made, *arguments]
        done = subprocess.run([str(part) for part in command], env=offline, capture_output=True, text=True)
        assert done.returncode == 0, f"the oracle {name} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        return load_file(made)

    return run


@pytest.fixture(scope="session")
def checkpoint_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty models/qwen2vl_flux folder that the server reads; what a test puts there appears in the combos."""
    folder = tmp_path_factory.mktemp("models") / "qwen2vl_flux"
    folder.mkdir()
    return folder


def _merged(part: str) -> dict:
    """All tensors of one part of the demo checkpoint's FLUX."""
    from safetensors.torch import load_file

    state = {}
    for shard in (ROOT / "demo" / "flux" / part).glob("*.safetensors"):
        state.update(load_file(shard))
    return state


def _single_file_flux(path: Path) -> Path:
    """The demo checkpoint's FLUX as one file in ComfyUI's own names, for the native diffusion model loader."""
    import comfy.model_detection
    from safetensors.torch import save_file

    native = comfy.model_detection.convert_diffusers_mmdit(_merged("transformer"))
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: value.contiguous() for name, value in native.items()}, path)
    return path


@pytest.fixture(scope="session")
def sam2_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder that extra_model_paths.yaml gives the server for sam2, as another pack would fill it."""
    return tmp_path_factory.mktemp("sam2")


@pytest.fixture(scope="session")
def server(
    tmp_path_factory: pytest.TempPathFactory,
    checkpoint_root: Path,
    tiny: Path,
    sam2_folder: Path,
    controlnet_folder: Path,
) -> Iterator[ComfyServer]:
    """A real ComfyUI with the pack, with input, output, temp and user folders of its own."""
    home = tmp_path_factory.mktemp("comfyui")
    paths = home / "extra_model_paths.yaml"
    models = {
        "qwen2vl_flux": str(checkpoint_root),
        "diffusion_models": str(_single_file_flux(home / "unet" / "demo_flux.safetensors").parent),
        "sam2": str(sam2_folder),
        "controlnet": str(controlnet_folder),
    }
    paths.write_text(json.dumps({"tests": models}))  # JSON is YAML
    folders = {f"{kind}_dir": home / kind for kind in ("output", "input", "temp", "user")}
    extra = [*FRONTEND, "--extra-model-paths-config", str(paths)]
    with ComfyServer(COMFYUI, log=home / "server.log", extra_args=extra, **folders) as running:
        yield running


@pytest.fixture
def client(server: ComfyServer) -> ComfyClient:
    return ComfyClient(server.url)


@pytest.fixture(scope="session")
def example(server: ComfyServer) -> str:
    """The picture that every new ComfyUI has in its input folder, uploaded under its own name."""
    return ComfyClient(server.url).upload_image(COMFYUI / "input" / "example.png")


@pytest.fixture(scope="session")
def tiny(checkpoint_root: Path) -> Path:
    """The tiny seeded checkpoint of the goldens, listed by the server as `tiny`."""
    return write_checkpoint(checkpoint_root / "tiny")


@pytest.fixture(scope="session")
def controlnet_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models/controlnet folder that the server reads."""
    return tmp_path_factory.mktemp("controlnet")


@pytest.fixture(scope="session")
def small(checkpoint_root: Path, controlnet_folder: Path) -> Path:
    """The demo checkpoint with a ControlNet and annotators of random weights beside it, each in its published place;
    listed by the server as `small`. The ControlNet is in models/controlnet too, as `union.safetensors`."""
    from annotator_weights import write_depth_folder, write_mteed, write_sam2
    from control_weights import write_union

    folder = checkpoint_root / "small"
    for part in ("qwen2-vl", "flux"):
        shutil.copytree(ROOT / "demo" / part, folder / part)
    union = write_union(folder / "controlnet") / "diffusion_pytorch_model.safetensors"
    shutil.copy(union, controlnet_folder / "union.safetensors")
    write_depth_folder(folder / "depth-anything-v2" / "small")
    write_mteed(folder / "anyline" / "MTEED.pth")
    write_sam2(folder / "segment-anything-2" / "sam2_hiera_tiny.pt")
    return folder


@pytest.fixture(scope="session")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyServer]:
    """A ComfyUI in which the bundled workflows find every file by the name they carry, with small weights in it, and
    an example.png whose right half has been painted in the mask editor.

    What a weight file is shows in its tensors, so that the smallest variant does under the name of the largest. Only
    the text encoders cannot be run: ComfyUI's own loader takes any file for encoders of the full size.
    """
    from annotator_weights import write_sam2
    from PIL import Image
    from safetensors.torch import save_file

    from client.qwen2vl_flux.workflows import EXAMPLE, MIDDLE, SINGLE_FILES

    base = tmp_path_factory.mktemp("furnished")
    models = base / "models"
    write_sam2(models / "sam2" / MIDDLE.model)
    _single_file_flux(models / "diffusion_models" / SINGLE_FILES["unet_name"])
    for folder, name, part in (
        ("text_encoders", "clip_name1", "text_encoder"),
        ("text_encoders", "clip_name2", "text_encoder_2"),
        ("vae", "vae_name", "vae"),
    ):
        (models / folder).mkdir(exist_ok=True)
        save_file(_merged(part), models / folder / SINGLE_FILES[name])
    (base / "custom_nodes").mkdir()
    (base / "custom_nodes" / "pack").symlink_to(ROOT, target_is_directory=True)
    folders = {f"{kind}_dir": base / kind for kind in ("output", "input", "temp", "user")}
    (base / "input").mkdir()
    picture = Image.open(COMFYUI / "input" / EXAMPLE).convert("RGBA")
    alpha = Image.new("L", picture.size, 255)
    alpha.paste(0, (picture.width // 2, 0, *picture.size))
    picture.putalpha(alpha)
    picture.save(base / "input" / EXAMPLE)
    arguments = [*FRONTEND, "--base-directory", str(base), "--disable-api-nodes"]
    with ComfyServer(COMFYUI, log=base / "log", extra_args=arguments, **folders) as running:
        yield running
