"""generate.py as people start it: real processes, a real ComfyUI, real files, and its functions for programs."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import psutil
import pytest
from annotator_weights import write_depth, write_mteed, write_sam2
from control_weights import write_union
from PIL import ExifTags, Image, ImageOps, ImageStat
from sentences import one_sentence

from client.arguments import DEFAULT_SERVER
from client.comfy_client import ComfyError, PromptRejected, RunInterrupted
from client.installation import python_in
from client.qwen2vl_flux import graph as graphs
from client.qwen2vl_flux.generate import Request, generate, prompt_for, prompts
from client.qwen2vl_flux.options import generate_options
from client.qwen2vl_flux.request import MAX_BATCH
from client.server import HOST, ComfyServer, default_comfyui

CHECKPOINT = "published"
OWN = {
    "controlnet": f"{CHECKPOINT}/controlnet",
    "depth_model": f"{CHECKPOINT}/depth-anything-v2/depth_anything_v2_vits.pth",
    "line_model": f"{CHECKPOINT}/anyline/MTEED.pth",
    "sam2_model": f"{CHECKPOINT}/segment-anything-2/sam2_hiera_tiny.pt",
}
SMALL = {"checkpoint": CHECKPOINT, "size": 128, "steps": 2}
PHOTOGRAPH = ["--mode", "variation", "--input_image", "photo.png", "--checkpoint", "demo"]
VARIATION = [*PHOTOGRAPH, "--size", "64", "--steps", "2"]


@pytest.fixture(scope="module")
def weights(root: Path, checkpoint_root: Path) -> Path:
    """The demo checkpoint as a folder in the whole published layout, with random ControlNet and annotators beside."""
    folder = checkpoint_root / CHECKPOINT
    folder.mkdir()
    for component in ("qwen2-vl", "flux"):
        (folder / component).symlink_to(root / "demo" / component, target_is_directory=True)
    write_union(folder / "controlnet")
    write_depth(checkpoint_root / OWN["depth_model"])
    write_mteed(checkpoint_root / OWN["line_model"])
    write_sam2(checkpoint_root / OWN["sam2_model"])
    return folder


@pytest.fixture
def folder(root: Path, tmp_path: Path) -> Path:
    """Where we are: with a picture, a reference and a mask that is white on the right."""
    scenes = sorted((root / "demo" / "scenes").glob("*.png"))
    photo = Image.open(root / "demo" / "reference.png").convert("RGB").resize((128, 128))
    photo.crop((0, 16, 128, 112)).save(tmp_path / "photo.png")
    Image.open(scenes[0]).save(tmp_path / "look.png")
    mask = Image.new("L", (128, 96))
    mask.paste(255, (64, 0, 128, 96))
    mask.save(tmp_path / "mask.png")
    (tmp_path / "text.png").write_text("no picture")
    Image.new("RGB", (4000, 4)).save(tmp_path / "strip.png")
    return tmp_path


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bare")


@pytest.fixture(scope="module")
def bare(root: Path, base: Path) -> Iterator[ComfyServer]:
    """A ComfyUI with the pack and without a single model."""
    (base / "custom_nodes").mkdir()
    (base / "custom_nodes" / "pack").symlink_to(root, target_is_directory=True)
    with started(base, "--base-directory", str(base)) as server:
        yield server


@pytest.fixture
def lonely(root: Path, base: Path) -> Iterator[str]:
    """The name of a checkpoint that `bare` has for a while, with nothing beside it."""
    folder = base / "models" / "qwen2vl_flux" / "lonely"
    folder.mkdir(parents=True)
    for component in ("qwen2-vl", "flux"):
        (folder / component).symlink_to(root / "demo" / component, target_is_directory=True)
    yield folder.name
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyServer]:
    """A ComfyUI without the pack."""
    with started(tmp_path_factory.mktemp("foreign"), "--disable-all-custom-nodes") as server:
        yield server


def started(home: Path, *extra: str) -> ComfyServer:
    folders = {f"{kind}_dir": home / kind for kind in ("output", "input", "temp", "user")}
    return ComfyServer(default_comfyui(), log=home / "log", extra_args=["--disable-api-nodes", *extra], **folders)


@pytest.fixture
def command(root: Path, server: ComfyServer) -> list[str]:
    return [sys.executable, str(root / "generate.py"), "--server", server.url]


def run(command: list[str], folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )


def flags(request: Request) -> list[str]:
    """The command line of a request: what is not the default."""
    arguments = []
    for name, value in vars(request).items():
        if name == "mask_points":
            arguments += ["--mask_points", *(",".join(str(part) for part in point) for point in value)] if value else []
        elif name in ("mode", "input_image", "seed") or value != Request.__dataclass_fields__[name].default:
            arguments += [f"--{name}"] if value is True else [f"--{name}", str(value)]
    return arguments


def failed(done: subprocess.CompletedProcess[str], status: int = 1) -> str:
    """The one sentence with which it ended."""
    assert done.returncode == status, done.stderr
    assert done.stderr.startswith("generate.py: "), done.stderr
    return one_sentence(done.stderr.removesuffix("\n"))


def asked(server: ComfyServer, what: str) -> dict:
    with urlopen(f"{server.url}/{what}") as answer:
        return json.load(answer)


def answers(url: str) -> bool:
    try:
        urlopen(f"{url}/system_stats", timeout=5).close()
    except OSError:
        return False
    return True


def eventually(holds: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.05)


# ---- the five modes ------------------------------------------------------------------------------------------------

PHOTO, LOOK, MASK = Path("photo.png"), Path("look.png"), Path("mask.png")
PICTURES = {"image": PHOTO, "reference": LOOK, "mask": MASK}
MODES = {
    "variation": (Request("variation", PHOTO, seed=1, aspect_ratio="16:9", **SMALL), (160, 96)),
    "variation with prompt and focus": (
        Request(
            "variation", PHOTO, seed=2, prompt="a star", dots='[{"x": 0.3, "y": 0.7, "r": 1}]', turbo=True, **SMALL
        ),
        (128, 128),
    ),
    "img2img": (Request("img2img", PHOTO, seed=3, **SMALL), (128, 96)),
    "img2img by reference": (
        Request("img2img", PHOTO, seed=4, reference_image=LOOK, aspect_ratio="1:1", denoise_strength=0.5, **SMALL),
        (128, 128),
    ),
    "inpaint": (Request("inpaint", PHOTO, seed=5, mask_image=MASK, **SMALL), (128, 96)),
    "inpaint by points": (
        Request("inpaint", PHOTO, seed=6, mask_points=((0.25, 0.5, 1), (0.9, 0.1, 0)), **SMALL),
        (128, 96),
    ),
    "controlnet": (Request("controlnet", PHOTO, seed=7, reference_image=LOOK, **SMALL), (128, 96)),
    "controlnet as published": (
        Request("controlnet", PHOTO, seed=8, line_mode=True, as_published=True, **SMALL),
        (128, 96),
    ),
    "controlnet-inpaint": (
        Request("controlnet-inpaint", PHOTO, seed=9, mask_image=MASK, depth_mode=True, depth_strength=0.5, **SMALL),
        (128, 96),
    ),
}


@pytest.mark.parametrize("request_, size", MODES.values(), ids=[name.replace(" ", "_") for name in MODES])
def test_the_modes(command, server, weights, folder, request_, size):
    """The picture is there, was made by the mode's graph and nothing else, and carries it."""
    done = run([*command, *flags(request_)], folder)
    assert done.returncode == 0, done.stderr
    path = folder / "outputs" / f"{request_.mode}_{request_.seed}.png"
    assert done.stdout.splitlines()[-1] == f"Wrote {path}" and f"[1/1] seed {request_.seed}:" in done.stdout
    assert list((folder / "outputs").iterdir()) == [path]
    picture = Image.open(path)
    assert picture.size == size and ImageStat.Stat(picture.convert("L")).stddev[0] > 0.5

    # what the server kept, without what it noted beside; uploads may have got other names
    noted = json.loads(picture.text["prompt"])
    sent = {key: {"class_type": entry["class_type"], "inputs": entry["inputs"]} for key, entry in noted.items()}
    names = {path: sent[key]["inputs"]["image"] for key, path in PICTURES.items() if key in sent}
    needed = [f"{annotator}_model" for annotator in request_.annotators]
    needed += ["controlnet"] if request_.annotators else []
    needed += ["sam2_model"] if request_.mask_points else []
    settled = replace(request_, **{name: OWN[name] for name in needed})
    assert sent == prompt_for(settled, names.__getitem__)

    written = run([*command, *flags(request_), "--save_prompt", "prompt.json"], folder)
    assert written.returncode == 0 and written.stdout == f"Wrote {folder / 'prompt.json'}\n", written.stderr
    assert json.loads((folder / "prompt.json").read_text()) == sent
    assert list((folder / "outputs").iterdir()) == [path]


# ---- files ---------------------------------------------------------------------------------------------------------


def test_several_pictures_and_a_second_run_beside_them(command, folder):
    arguments = [*command, *VARIATION, "--seed", "5", "--image_count", "2"]
    assert run(arguments, folder).returncode == 0
    outputs = folder / "outputs"
    first = {path.name: path.read_bytes() for path in outputs.iterdir()}
    assert set(first) == {"variation_5.png", "variation_6.png"} and len(set(first.values())) == 2
    again = run(arguments, folder)
    assert again.stdout.splitlines()[-1] == f"Wrote {outputs / 'variation_6_2.png'}"
    assert set(os.listdir(outputs)) == {*first, "variation_5_2.png", "variation_6_2.png"}
    assert all((outputs / name).read_bytes() == data for name, data in first.items())


def test_the_random_seed_is_said_and_gives_the_picture_again(command, folder):
    done = run([*command, *VARIATION], folder)
    (made,) = (folder / "outputs").iterdir()
    seed = made.stem.removeprefix("variation_")
    assert f"[1/1] seed {seed}:" in done.stdout
    run([*command, *VARIATION, "--seed", seed, "--output_dir", "again"], folder)
    again = Image.open(folder / "again" / made.name)
    assert again.tobytes() == Image.open(made).tobytes()


def test_pictures_of_one_name_are_kept_apart(command, client, folder):
    """What lies on the server under that name stays, and the prompt reads ours."""
    names = {}
    for place, colour in (("one", "red"), ("two", "blue")):
        (folder / place).mkdir()
        Image.new("RGB", (64, 64), colour).save(folder / place / "same name.png")
        arguments = ["--mode", "variation", "--input_image", f"{place}/same name.png", "--save_prompt", f"{place}.json"]
        assert run([*command, *arguments], folder).returncode == 0
        names[place] = json.loads((folder / f"{place}.json").read_text())["image"]["inputs"]["image"]
    assert names["one"] != names["two"]
    for place, name in names.items():
        data = client.fetch({"filename": name, "subfolder": "", "type": "input"})
        assert data == (folder / place / "same name.png").read_bytes()


def test_a_console_that_cannot_show_a_name(command, folder):
    done = run([*command, *VARIATION, "--seed", "1", "--output_dir", "grün 雪"], folder, PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].endswith("gr\\xfcn \\u96ea/variation_1.png")
    assert os.listdir(folder / "grün 雪") == ["variation_1.png"]


def test_batches(command, folder):
    """Two prompts for three pictures; which of a batch a picture is stands in its name, and a batch comes again."""
    arguments = [*command, *VARIATION, "--seed", "5", "--image_count", "3", "--batch_size", "2"]
    done = run(arguments, folder)
    assert done.returncode == 0, done.stderr
    outputs = folder / "outputs"
    names = ["variation_5_1of2.png", "variation_5_2of2.png", "variation_6_1of1.png"]
    assert [line for line in done.stdout.splitlines() if line.startswith("Wrote")] == [
        f"Wrote {outputs / name}" for name in names
    ]
    assert "[1-2/3] seed 5: queued" in done.stdout and "[3/3] seed 6: queued" in done.stdout
    pixels = [Image.open(outputs / name).tobytes() for name in names]
    assert len(set(pixels)) == 3
    for name, size in zip(names, (2, 2, 1), strict=True):
        prompt = json.loads(Image.open(outputs / name).text["prompt"])
        assert prompt["size"]["inputs"]["batch_size"] == size
    again = run([*command, *VARIATION, "--seed", "5", "--image_count", "2", "--batch_size", "2"], folder)
    assert again.returncode == 0 and Image.open(outputs / "variation_5_2of2_2.png").tobytes() == pixels[1]


@pytest.mark.parametrize("mode", ["img2img", "controlnet"])
def test_batches_of_img2img(client, weights, folder, mode):
    """Also from pure noise, whose latents another node makes."""
    published = {"as_published": True, "line_mode": True} if mode == "controlnet" else {}
    request = Request(mode, folder / "photo.png", seed=3, image_count=2, batch_size=2, **published, **SMALL)
    pictures = list(generate(request, client))
    assert [(picture.seed, picture.number) for picture in pictures] == [(3, 1), (3, 2)]
    assert len({picture.data for picture in pictures}) == 2


# ---- masks -----------------------------------------------------------------------------------------------------------


def mask_of(kind: str, path: Path) -> Path:
    """A mask file of 128 x 96 whose right half the published script repaints."""
    left, right = {
        "green": ((0, 0, 0), (0, 255, 0)),
        "red, which is too dark": ((255, 0, 0), (0, 230, 0)),
        "palette": ((0, 0, 90), (0, 255, 0)),
        "transparent": ((0, 0, 0, 255), (0, 255, 0, 0)),
        "turned": ((0, 0, 0), (0, 255, 0)),
        "jpeg": ((0, 0, 0), (0, 255, 0)),
        "two colours": (0, 1),
    }.get(kind, (0, 0))
    mask = Image.new({"transparent": "RGBA", "two colours": "1"}.get(kind, "RGB"), (128, 96), left)
    mask.paste(right, (64, 0, 128, 96))
    exif = Image.Exif()
    if kind == "16 bits":
        mask = Image.fromarray(np.repeat(np.uint16([[20000, 45000]]), 64, axis=1).repeat(96, axis=0))
    if kind == "palette":
        mask = mask.quantize(2)
    if kind == "turned":
        exif[ExifTags.Base.Orientation] = 6  # shown turned to the right
        mask = mask.transpose(Image.Transpose.ROTATE_90)
    mask.save(path, "JPEG" if kind == "jpeg" else "PNG", exif=exif, quality=95)
    return path


@pytest.mark.parametrize(
    "kind",
    ["green", "red, which is too dark", "palette", "transparent", "turned", "jpeg", "16 bits", "two colours"],
)
def test_masks_of_any_kind_are_read_as_grey(client, folder, kind):
    """What ComfyUI's own node makes of the uploaded file is what PIL makes of the mask."""
    path = mask_of(kind, folder / "right.png")
    request = Request("inpaint", folder / "photo.png", mask_image=path, checkpoint="demo", size=128, steps=2)
    graph = next(prompts(request, client))[1]
    shown = {"mask": graph["mask"], "show": {"class_type": "MaskPreview", "inputs": {"mask": ["mask", 0]}}}
    (image,) = client.run(shown).outputs["show"]["images"]
    read = Image.open(io.BytesIO(client.fetch(image))).convert("L")
    if kind == "16 bits":
        expected = Image.new("L", (128, 96), round(20000 / 257))
        expected.paste(round(45000 / 257), (64, 0, 128, 96))
    else:
        expected = ImageOps.exif_transpose(Image.open(path)).convert("L")
    assert read.size == (128, 96) and read.tobytes() == expected.tobytes()
    assert read.crop((0, 0, 60, 96)).getextrema()[1] < 128 <= read.crop((68, 0, 128, 96)).getextrema()[0]


def test_every_grey_arrives(client, folder):
    """A grey file as it is ComfyUI reads up to one level too dark."""
    grey = Image.frombytes("L", (16, 16), bytes(range(256)))
    for name, picture in (("grey.png", grey), ("colours.png", grey.convert("RGB"))):
        picture.save(folder / name)
        request = Request("inpaint", folder / "photo.png", mask_image=folder / name, checkpoint="demo", size=64)
        graph = next(prompts(request, client))[1]
        shown = {"mask": graph["mask"], "show": {"class_type": "MaskPreview", "inputs": {"mask": ["mask", 0]}}}
        (image,) = client.run(shown).outputs["show"]["images"]
        assert Image.open(io.BytesIO(client.fetch(image))).convert("L").tobytes() == grey.tobytes()


def test_a_green_mask_repaints(command, folder):
    """On the command line: the same picture as by a white mask, and the picture as its own mask."""
    mask_of("green", folder / "green.png")
    arguments = ["--mode", "inpaint", "--input_image", "photo.png", "--checkpoint", "demo"]
    arguments += ["--steps", "2", "--seed", "1"]
    for name in ("green", "mask", "photo"):
        done = run([*command, *arguments, "--mask_image", f"{name}.png", "--output_dir", name], folder)
        assert done.returncode == 0, done.stderr
    made = {name: Image.open(folder / name / "inpaint_1.png").tobytes() for name in ("green", "mask", "photo")}
    assert made["green"] == made["mask"] != made["photo"]


@pytest.mark.parametrize("name", ["text.png", "cut.png", "gone"])
def test_a_mask_that_is_no_picture(client, folder, name):
    (folder / "cut.png").write_bytes((folder / "look.png").read_bytes()[:500])
    request = Request("inpaint", folder / "photo.png", mask_image=folder / name, checkpoint="demo", size=128)
    with pytest.raises(ComfyError, match=f"{name} is not an image that can be read as a mask"):
        next(generate(request, client))


# ---- which server --------------------------------------------------------------------------------------------------


def test_a_server_of_its_own_by_an_interpreter_that_lacks_everything(root, folder):
    """Handed over to ComfyUI's interpreter, in the caller's folder, with a checkpoint folder and on the CPU."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "plain"], check=True)
    (folder / "weights").mkdir()
    for component in ("qwen2-vl", "flux"):
        (folder / "weights" / component).symlink_to(root / "demo" / component, target_is_directory=True)
    command = [str(python_in(folder / "plain")), str(root / "generate.py"), *VARIATION, "--seed", "1"]
    own = ["--checkpoint", "weights", "--device", "cpu"]
    comfyui = {"COMFYUI_PATH": str(default_comfyui()), "COMFYUI_PYTHON": sys.executable, "TMPDIR": str(folder)}
    done = run([*command, *own], folder, **comfyui)
    assert done.returncode == 0, done.stderr
    (address,) = (line.split()[2] for line in done.stdout.splitlines() if "answers on" in line)
    assert not answers(address)
    made = json.loads(Image.open(folder / "outputs" / "variation_1.png").text["prompt"])
    assert made["model"]["inputs"]["checkpoint"] == "weights"
    assert not list(folder.glob("*.log"))

    lost = failed(run([*command, *own], folder, **{**comfyui, "COMFYUI_PYTHON": str(folder / "gone")}))
    assert f"COMFYUI_PYTHON={folder / 'gone'} does not exist" in lost
    lost = failed(run([*command, *own], folder, **{**comfyui, "COMFYUI_PATH": str(folder)}))
    assert f"COMFYUI_PATH={folder} is not a ComfyUI folder" in lost
    poor = {**comfyui, "COMFYUI_PYTHON": command[0]}
    assert "lacks aiohttp, which ComfyUI's interpreter has" in failed(run([*command, *own], folder, **poor))


def test_a_failure_on_a_server_of_its_own_names_its_log(root, folder):
    (folder / "weights" / "flux").mkdir(parents=True)
    comfyui = {"COMFYUI_PATH": str(default_comfyui()), "COMFYUI_PYTHON": sys.executable, "TMPDIR": str(folder)}
    command = [sys.executable, str(root / "generate.py"), *VARIATION, "--checkpoint", "weights"]
    said = failed(run(command, folder, **comfyui))
    (log,) = folder.glob("comfyui-*.log")
    assert "failed: " in said and said.endswith(f"ComfyUI's log is {log}.")
    assert "Traceback" in log.read_text()


def test_a_prompt_saved_by_a_server_of_its_own(root, folder):
    """Its input folder is gone when it is left, so that the pictures are named; one has got another name there, and the
    mask is written as the prompt reads it."""
    (folder / "weights").mkdir()
    for component in ("qwen2-vl", "flux"):
        (folder / "weights" / component).symlink_to(root / "demo" / component, target_is_directory=True)
    (folder / "other").mkdir()
    shutil.copy(folder / "look.png", folder / "other" / "photo.png")
    mask_of("green", folder / "green.png")
    comfyui = {"COMFYUI_PATH": str(default_comfyui()), "COMFYUI_PYTHON": sys.executable, "TMPDIR": str(folder)}
    arguments = ["--mode", "inpaint", "--input_image", "photo.png", "--reference_image", "other/photo.png"]
    arguments += ["--mask_image", "green.png", "--checkpoint", "weights", "--save_prompt", "prompt.json"]
    done = run([sys.executable, str(root / "generate.py"), *arguments], folder, **comfyui)
    assert done.returncode == 0, done.stderr
    prompt = json.loads((folder / "prompt.json").read_text())
    renamed = prompt["reference"]["inputs"]["image"]
    assert [prompt[key]["inputs"]["image"] for key in ("image", "mask")] == ["photo.png", "green_grey.png"]
    assert renamed not in ("photo.png", "green_grey.png")
    wrote, remark = done.stdout.splitlines()[-2:]
    assert wrote == f"Wrote {folder / 'prompt.json'}"
    paths = f"{folder / 'photo.png'}, {folder / 'other' / 'photo.png'} as {renamed}, {folder / 'green_grey.png'}"
    assert remark == f"Before you queue it, put into ComfyUI's input folder: {paths}"
    assert Image.open(folder / "green_grey.png").getextrema() == ((0, 150),) * 3


@pytest.mark.parametrize(
    "number, when",
    [
        ("SIGKILL", "starting"),
        ("SIGKILL", "sampling"),
        ("SIGHUP", "starting"),
        ("SIGTERM", "sampling"),
        pytest.param("SIGHUP", "sampling", marks=pytest.mark.slow),
        pytest.param("SIGTERM", "starting", marks=pytest.mark.slow),
    ],
)
def test_nothing_stays_behind(root, folder, number, when):
    """Neither the ComfyUI that it started, nor its folders, nor its log, however it ends."""
    (folder / "weights").mkdir()
    for component in ("qwen2-vl", "flux"):
        (folder / "weights" / component).symlink_to(root / "demo" / component, target_is_directory=True)
    (folder / "temporary").mkdir()
    comfyui = {"COMFYUI_PATH": str(default_comfyui()), "COMFYUI_PYTHON": sys.executable}
    environment = {**os.environ, **comfyui, "TMPDIR": str(folder / "temporary"), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, str(root / "generate.py"), *PHOTOGRAPH, "--checkpoint", "weights", "--steps", "5000"]
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True) as running:
        for line in running.stdout:
            servers = psutil.Process(running.pid).children(recursive=True)
            if when == "starting" and line.startswith("Starting"):
                eventually(lambda: psutil.Process(running.pid).children(recursive=True))
                time.sleep(1)
                servers = psutil.Process(running.pid).children(recursive=True)
                break
            if "SamplerCustomAdvanced" in line:
                break
        assert servers and os.listdir(folder / "temporary")
        running.send_signal(getattr(signal, number))
        running.stdout.read()
        assert running.wait(60) == (-9 if number == "SIGKILL" else 128 + getattr(signal, number))
    assert not psutil.wait_procs(servers, timeout=60)[1]
    assert not os.listdir(folder / "temporary")


def test_a_checkpoint_that_is_not_there_is_said_before_anything_starts(root, folder):
    comfyui = {"COMFYUI_PATH": str(default_comfyui()), "COMFYUI_PYTHON": sys.executable, "TMPDIR": str(folder)}
    done = run([sys.executable, str(root / "generate.py"), *PHOTOGRAPH, "--checkpoint", "gone"], folder, **comfyui)
    assert "There is no checkpoint 'gone' in " in failed(done) and not done.stdout


def test_nothing_to_start(root, folder):
    """A copy of the pack with no development set-up beside it, whose usual address is one where nothing answers."""
    pack = copied_pack(root, folder / "pack")
    nowhere = {"COMFYUI_PATH": "", "COMFYUI_PYTHON": ""}
    with socket.socket() as reserved:
        reserved.bind((HOST, 0))
        address = f"http://{HOST}:{reserved.getsockname()[1]}"
        module = pack / "client" / "arguments.py"
        module.write_text(module.read_text().replace(DEFAULT_SERVER, address))
        said = failed(run([sys.executable, "pack/generate.py", *VARIATION], folder, **nowhere))
    assert said.startswith(f"generate.py: No ComfyUI answers on {address} and there is none to start")
    assert "in a clone of the pack's repository, run python3 dev.py demo once" in said


def copied_pack(root: Path, folder: Path) -> Path:
    """What generate.py needs of the pack until a server runs, with no development set-up beside it."""
    for package in ("client", "systems"):
        shutil.copytree(root / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(root / "generate.py", folder)
    return folder


@pytest.mark.parametrize("called", ["by its path", "in its folder"])
def test_the_comfyui_whose_custom_nodes_has_a_link_to_the_pack(root, folder, called):
    """The link counts, whether it is in the path or the shell has gone through it. ComfyUI's start is as far as it
    has to come; where the pack itself lies, there is none."""
    pack, comfyui = copied_pack(root, folder / "pack"), folder / "ComfyUI"
    (comfyui / "custom_nodes").mkdir(parents=True)
    (comfyui / "main.py").write_text("raise SystemExit(7)")
    link = comfyui / "custom_nodes" / "linked"
    link.symlink_to(pack, target_is_directory=True)
    variation = ["--mode", "variation", "--input_image", str(folder / "photo.png"), "--checkpoint", str(folder / "own")]
    (folder / "own" / "flux").mkdir(parents=True)
    nowhere = {"COMFYUI_PATH": "", "COMFYUI_PYTHON": "", "TMPDIR": str(folder)}
    program, here = (str(link / "generate.py"), folder) if called == "by its path" else ("generate.py", link)
    said = failed(run([sys.executable, program, *variation], here, **nowhere, PWD=str(here)))
    assert "ComfyUI ended at its start (exit status 7)" in said
    said = failed(run([sys.executable, "generate.py", *variation], pack, **nowhere, PWD=str(link.parent)))
    assert "there is none to start" in said


def test_an_unreachable_server(root, folder):
    with socket.socket() as reserved:
        reserved.bind((HOST, 0))
        url = f"http://{HOST}:{reserved.getsockname()[1]}"
        said = failed(run([sys.executable, str(root / "generate.py"), *VARIATION, "--server", url], folder))
    assert said == f"generate.py: No ComfyUI answers on {url}."


class Other(BaseHTTPRequestHandler):
    """A web server that is not ComfyUI."""

    def do_GET(self) -> None:
        if "noise" in self.path:
            self.wfile.write(bytes(range(256)) * 100)
            return
        self.send_response(404 if "none" in self.path else 302 if "loop" in self.path else 200)
        if "loop" in self.path:
            self.send_header("Location", self.path)
        if "cut" in self.path:
            self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b"[]" if "json" in self.path else b"<html>")

    def log_message(self, *_) -> None:
        pass


@pytest.mark.parametrize(
    "path, complaint",
    [
        ("page", "is not ComfyUI"),
        ("json", "is not ComfyUI"),
        ("none", "404"),
        ("cut", "No ComfyUI answers"),
        ("noise", "No ComfyUI answers"),
        ("loop", "No ComfyUI answers"),
    ],
)
def test_another_program_on_the_port(root, folder, path, complaint):
    with ThreadingHTTPServer((HOST, 0), Other) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        url = f"http://{HOST}:{other.server_port}/{path}"
        said = failed(run([sys.executable, str(root / "generate.py"), *VARIATION, "--server", url], folder))
        other.shutdown()
    assert complaint in said and url in said


def test_a_server_without_the_pack(root, foreign, folder):
    said = failed(run([sys.executable, str(root / "generate.py"), *VARIATION, "--server", foreign.url], folder))
    assert f"The ComfyUI on {foreign.url} does not have the node pack; install or update" in said


def test_another_device(command, client, folder):
    other = "cpu" if client.device() == "cuda" else "cuda"
    said = failed(run([*command, *VARIATION, "--device", other], folder))
    assert f"computes on {client.device()}, not on {other}" in said
    assert run([*command, *VARIATION, "--device", client.device()], folder).returncode == 0


# ---- weights -------------------------------------------------------------------------------------------------------

LACKING = {
    "controlnet": "There is no ControlNet folder 'gone' on",
    "depth_model": "There is no Depth Anything V2 file 'gone' on",
    "line_model": "There is no AnyLine file 'gone' on",
    "sam2_model": "There is no SAM 2 file 'gone' on",
    "checkpoint": "There is no checkpoint 'gone' on",
}


@pytest.mark.parametrize("name", LACKING)
def test_weights_that_the_server_does_not_list(command, weights, folder, name):
    arguments = ["--mode", "controlnet-inpaint", "--input_image", "photo.png", "--mask_points", "0.5,0.5"]
    said = failed(run([*command, *arguments, "--checkpoint", CHECKPOINT, f"--{name}", "gone"], folder))
    assert LACKING[name] in said and OWN.get(name, CHECKPOINT) in said


EMPTY = {
    "depth": (
        ["controlnet", "--depth_mode"],
        "no Depth Anything V2 file",
        "depth_anything_v2_vitl.pth",
        "depthanything",
    ),
    "line": (["controlnet", "--line_mode"], "no AnyLine file", "MTEED.pth", "anyline"),
    "sam2": (["inpaint", "--mask_points", "0.5,0.5"], "no SAM 2 file", "sam2_hiera_large.pt", "sam2"),
}


@pytest.mark.parametrize("mode, what, example, place", EMPTY.values(), ids=list(EMPTY))
def test_a_server_without_any(root, bare, lonely, folder, mode, what, example, place):
    """The bundled checkpoint's own would not do."""
    command = [sys.executable, str(root / "generate.py"), "--server", bare.url, "--input_image", "photo.png"]
    said = failed(run([*command, "--checkpoint", lonely, "--mode", *mode], folder))
    assert f"There is {what} (put one such as {example} into models/{place})" in said and bare.url in said


def test_all_that_is_absent_is_told_at_once(root, bare, lonely, folder):
    command = [sys.executable, str(root / "generate.py"), "--server", bare.url, "--input_image", "photo.png"]
    said = failed(run([*command, "--checkpoint", lonely, "--mode", "controlnet"], folder))
    for what in ("Depth Anything V2 file", "AnyLine file", "ControlNet folder"):
        assert f"no {what} (put one such as " in said
    assert "the checkpoint's own folder may hold it, too" in said


def test_the_bundled_checkpoint_only_where_there_is_no_other(root, bare, client, folder):
    command = [sys.executable, str(root / "generate.py"), "--server"]
    arguments = ["--mode", "variation", "--input_image", "photo.png", "--save_prompt", "prompt.json"]
    listed = client.object_info()["Qwen2VLLoader"]["input"]["required"]["checkpoint"][1]["options"]
    for url, expected in ((bare.url, ("demo", 128)), (client.url, (listed[0], 1024))):
        assert run([*command, url, *arguments], folder).returncode == 0
        prompt = json.loads((folder / "prompt.json").read_text())
        assert (prompt["model"]["inputs"]["checkpoint"], prompt["size"]["inputs"]["size"]) == expected
    assert listed[0] != "demo"


def test_a_batch_is_as_large_as_the_nodes_take(client, folder, monkeypatch):
    monkeypatch.chdir(folder)
    nodes = client.object_info()
    assert nodes["Qwen2VLFluxSize"]["input"]["required"]["batch_size"][1]["max"] == MAX_BATCH
    arguments = ["--mode", "img2img", "--input_image", "photo.png", "--image_count", "100", "--batch_size"]
    assert generate_options([*arguments, str(MAX_BATCH)]).request.batch_size == MAX_BATCH
    with pytest.raises(SystemExit):
        generate_options([*arguments, str(MAX_BATCH + 1)])


@pytest.mark.parametrize(
    "flag, node, name",
    [
        ("steps", "Qwen2VLFluxSigmas", "steps"),
        ("denoise_strength", "Qwen2VLFluxSigmas", "strength"),
        ("guidance_scale", "FluxGuidance", "guidance"),
        ("reference_strength", "Qwen2VLConnector", "strength"),
        ("line_strength", "ControlNetApplyAdvanced", "strength"),
        ("size", "Qwen2VLFluxSize", "size"),
        ("size", "Qwen2VLFluxPrepareImage", "size"),
        ("seed", "RandomNoise", "noise_seed"),
    ],
)
def test_flags_reach_as_far_as_the_nodes(client, folder, monkeypatch, flag, node, name):
    monkeypatch.chdir(folder)
    inputs = client.object_info()[node]["input"]
    limits = {**inputs["required"], **inputs.get("optional", {})}[name][1]
    for end, beyond in ((limits["min"], -1), (limits["max"], 1)):
        arguments = ["--mode", "img2img", "--input_image", "photo.png", f"--{flag}"]
        assert getattr(generate_options([*arguments, str(end)]).request, flag) == end
        with pytest.raises(SystemExit):
            generate_options([*arguments, str(end + beyond)])


# ---- what fails ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "picture, complaint",
    [
        ("text.png", "LoadImage (node 'image') failed: "),
        ("strip.png", "Qwen2VLEncode (node 'encode') failed: The image is 4000x4 pixels"),
    ],
)
def test_a_failing_node(command, folder, picture, complaint):
    arguments = ["--mode", "variation", "--input_image", picture, "--checkpoint", "demo"]
    assert complaint in failed(run([*command, *arguments], folder))
    assert not (folder / "outputs").exists()


def test_a_program_gets_the_errors_and_the_pictures(client, folder):
    request = Request("variation", folder / "photo.png", seed=3, image_count=2, checkpoint="demo", size=64, steps=2)
    seen = []
    pictures = list(generate(request, client, lambda seed, prompt: lambda event: seen.append((seed, event["type"]))))
    assert [picture.seed for picture in pictures] == [3, 4]
    assert all(picture.data.startswith(b"\x89PNG") for picture in pictures)
    assert [picture.prompt["noise"]["inputs"]["noise_seed"] for picture in pictures] == [3, 4]
    assert {(3, "execution_start"), (4, "execution_success")} <= set(seen)
    with pytest.raises(PromptRejected, match="input 'steps'"):
        next(generate(replace(request, steps=0), client))
    with pytest.raises(ComfyError, match="gone.png cannot be read"):
        next(generate(replace(request, input_image=folder / "gone.png"), client))


# ---- Ctrl-C --------------------------------------------------------------------------------------------------------


def last_history(server: ComfyServer) -> dict:
    return list(asked(server, "history").values())[-1]


def test_interrupted_while_it_samples(command, server, folder):
    """The finished picture stays, the running prompt ends on the server, nothing is left in its queue."""
    arguments = [*command, *PHOTOGRAPH, "--steps", "300", "--image_count", "5", "--seed", "1"]
    with subprocess.Popen(arguments, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        for line in running.stdout:
            if line.startswith("[2/5] seed 2: SamplerCustomAdvanced"):
                break
        running.send_signal(signal.SIGINT)
        _, errors = running.communicate(timeout=30)
    assert running.returncode == 130 and not errors
    assert os.listdir(folder / "outputs") == ["variation_1.png"]
    eventually(lambda: not any(asked(server, "queue").values()))
    entry = last_history(server)
    assert entry["prompt"][2]["noise"]["inputs"]["noise_seed"] == 2
    assert "execution_interrupted" in [kind for kind, _ in entry["status"]["messages"]]


def test_interrupted_while_it_waits(command, server, client, folder, example):
    """Taken out of the queue, and what somebody else runs goes on."""
    theirs = str(uuid.uuid4())
    sampling = threading.Event()

    def run_theirs() -> None:
        prompt = graphs.variation(example, steps=10000, seed=time.time_ns())
        with contextlib.suppress(RunInterrupted):
            client.run(prompt, lambda event: event["type"] == "progress" and sampling.set(), theirs)

    thread = threading.Thread(target=run_theirs)
    thread.start()
    try:
        assert sampling.wait(60)
        with subprocess.Popen([*command, *VARIATION], cwd=folder, stderr=subprocess.PIPE, text=True) as waiting:
            eventually(lambda: asked(server, "queue")["queue_pending"])
            waiting.send_signal(signal.SIGINT)
            _, errors = waiting.communicate(timeout=30)
        assert waiting.returncode == 130 and not errors
        queue = asked(server, "queue")
        assert not queue["queue_pending"] and [item[1] for item in queue["queue_running"]] == [theirs]
    finally:
        client.cancel(theirs)
        thread.join(60)


def test_somebody_else_interrupts(command, client, folder):
    arguments = [*command, *PHOTOGRAPH, "--steps", "5000"]
    with subprocess.Popen(arguments, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        next(line for line in running.stdout if "SamplerCustomAdvanced" in line)
        client.interrupt()
        _, errors = running.communicate(timeout=30)
    assert running.returncode == 1
    assert "The prompt was interrupted at SamplerCustomAdvanced" in one_sentence(errors.removesuffix("\n"))


def test_nobody_reads_what_it_says(command, server, folder):
    """As in `generate.py ... | head -1`: it stops, and so does the prompt."""
    arguments = [*command, *PHOTOGRAPH, "--steps", "400"]
    with subprocess.Popen(arguments, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        next(line for line in running.stdout if "SamplerCustomAdvanced" in line)
        running.stdout.close()
        assert not running.stderr.read()
        assert running.wait(60) == 1
    eventually(lambda: not any(asked(server, "queue").values()))
    assert "execution_interrupted" in [kind for kind, _ in last_history(server)["status"]["messages"]]
