"""The demo as people start it: real processes, a real ComfyUI, real files."""

from __future__ import annotations

import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import urllib.error
import urllib.request
import zlib
from pathlib import Path

import numpy as np
import psutil
import pytest
from goldens import DATA
from PIL import Image
from sentences import one_sentence

from client.server import default_comfyui

CELL, TOP, LEFT, NEXT = 288, 78, 28, 316  # of the contact sheet: cell, first row and column, from column 1 to column 2
PAPER, ACCENT = (250, 249, 247), (255, 122, 26)
SMALL = ["--size", "64", "--steps", "2", "--count", "2"]
Demo = list[str | Path]


@pytest.fixture
def module(root: Path) -> Demo:
    return [sys.executable, "-m", "client.demo"]


@pytest.fixture
def dev(root: Path) -> Demo:
    return [sys.executable, root / "dev.py", "demo"]


def run(command: Demo, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )


def made(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def cell(sheet: Image.Image, column: int, row: int) -> np.ndarray:
    x, y = LEFT + (NEXT if column else 0) + max(0, column - 1) * 302, TOP + row * 328
    return np.asarray(sheet.crop((x, y, x + CELL, y + CELL)), dtype=np.float32)


def near(pixels: np.ndarray, colour: tuple[int, int, int]) -> float:
    return float((np.abs(pixels - colour).max(axis=-1) < 8).mean())


def shows(pixels: np.ndarray, path: Path) -> bool:
    picture = Image.open(path).convert("RGB").resize((CELL, CELL), Image.Resampling.LANCZOS)
    return float(np.abs(pixels - np.asarray(picture, dtype=np.float32)).mean()) < 1


def test_pictures_sheet_and_a_second_run_beside_them(module, dev, root, tmp_path):
    output = tmp_path / "output"
    first = run([*module, *SMALL, "--focus", "0.28,0.68,0.4", "--output", output], root)
    assert first.returncode == 0, first.stderr
    seeds = ["variation_001_seed12.png", "variation_001_seed13.png"]
    before = made(output)
    assert set(before) == {*seeds, "variation_001_sheet.png"}
    assert [line.strip() for line in first.stdout.split("Wrote\n")[1].splitlines()[:3]] == [
        str(output / name) for name in [*seeds, "variation_001_sheet.png"]
    ]
    assert "--size 128 only" in first.stdout and "photograph" not in first.stdout
    assert before[seeds[0]] != before[seeds[1]]
    assert all(Image.open(output / name).size == (64, 64) for name in seeds)

    sheet = Image.open(output / "variation_001_sheet.png").convert("RGB")  # reference over focus | one column of two
    assert sheet.size == (2 * 28 + CELL + 14 + 302, 64 + 2 * 328 + 28)
    assert shows(cell(sheet, 0, 0), root / "demo" / "reference.png")
    focus = cell(sheet, 0, 1)
    assert near(focus, ACCENT) > 0.005 and not shows(focus, root / "demo" / "reference.png")
    assert shows(cell(sheet, 1, 0), output / seeds[0]) and shows(cell(sheet, 1, 1), output / seeds[1])

    weights = tmp_path / "own weights"
    weights.mkdir()
    for component in ("qwen2-vl", "flux"):
        (weights / component).symlink_to(root / "demo" / component, target_is_directory=True)
    (tmp_path / "odd.png").symlink_to(DATA / "img_crop_301x197.png")
    second = run([*dev, *SMALL, "--image", "odd.png", "--checkpoint", "own weights", "--seed", "7"], tmp_path)
    assert second.returncode == 0, second.stderr
    assert "bundled small model" not in second.stdout
    after = made(output)
    assert {name: after[name] for name in before} == before
    seeds = ["variation_002_seed7.png", "variation_002_seed8.png"]
    assert set(after) - set(before) == {*seeds, "variation_002_sheet.png"}

    sheet = Image.open(output / "variation_002_sheet.png").convert("RGB")  # reference | two columns
    assert sheet.size == (2 * 28 + CELL + 14 + 2 * 302, 64 + 328 + 28)
    reference = cell(sheet, 0, 0)  # 301x197 becomes 288x188, centred
    assert near(reference[:50], PAPER) == near(reference[-50:], PAPER) == 1 and near(reference[52:-52], PAPER) < 0.5
    assert shows(cell(sheet, 1, 0), output / seeds[0]) and shows(cell(sheet, 2, 0), output / seeds[1])


def test_interrupted_on_a_photograph_with_a_prompt(module, root, tmp_path):
    """It says what the small model cannot do of this, and Ctrl-C leaves neither a server nor files behind."""
    asked = ["--image", DATA / "astronaut_512.png", "--prompt", "an astronaut", "--steps", "1000"]
    command = [str(part) for part in [*module, *asked, "--output", tmp_path]]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as demo:
        said = []
        for line in demo.stdout:
            said.append(line)
            if "SamplerCustomAdvanced" in line:
                break
        servers = psutil.Process(demo.pid).children(recursive=True)
        demo.send_signal(signal.SIGINT)
        _, errors = demo.communicate(timeout=30)
    assert demo.returncode == 130 and "Traceback" not in errors
    assert "photograph is outside what it knows" in said[0] and "has not learned words" in said[1]
    assert servers and not psutil.wait_procs(servers, timeout=5)[1]
    (address,) = (line.split()[2] for line in said if "answers on" in line)
    with pytest.raises(urllib.error.URLError):
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(address, timeout=5)
    assert not made(tmp_path)


def test_an_unknown_checkpoint(dev, tmp_path):
    """Said before ComfyUI starts."""
    done = run([*dev, "--checkpoint", "gone", "--output", tmp_path], tmp_path)
    assert done.returncode == 1 and "Starting ComfyUI" not in done.stdout
    sentence = one_sentence(done.stderr.removesuffix("\n"))
    assert sentence.startswith("demo: There is no checkpoint 'gone' in ") and "qwen2-vl and flux" in sentence
    assert not made(tmp_path)


def test_an_unknown_checkpoint_that_only_comfyui_can_miss(dev, root, tmp_path):
    """Its extra_model_paths.yaml may name any place."""
    comfyui = tmp_path / "ComfyUI"
    comfyui.mkdir()
    for entry in default_comfyui().iterdir():
        if entry.name != "extra_model_paths.yaml":
            (comfyui / entry.name).symlink_to(entry)
    (comfyui / "main.py").unlink()
    shutil.copy(default_comfyui() / "main.py", comfyui)  # looks for the file beside itself
    more = tmp_path / "more" / "elsewhere"
    more.mkdir(parents=True)
    for component in ("qwen2-vl", "flux"):
        (more / component).symlink_to(root / "demo" / component, target_is_directory=True)
    (comfyui / "extra_model_paths.yaml").write_text(json.dumps({"tests": {"qwen2vl_flux": str(tmp_path / "more")}}))
    environment = {**os.environ, "COMFYUI_PATH": str(comfyui), "COMFYUI_PYTHON": sys.executable}
    command = [*dev, *SMALL, "--output", tmp_path / "made", "--checkpoint"]
    found = subprocess.run([*command, "elsewhere"], env=environment, capture_output=True, text=True, timeout=300)
    assert found.returncode == 0, found.stderr
    gone = subprocess.run([*command, "gone"], env=environment, capture_output=True, text=True, timeout=300)
    assert gone.returncode == 1 and "There is no checkpoint 'gone', only elsewhere" in gone.stderr


def bomb(picture: bytes) -> bytes:
    """A PNG that claims 60000 x 60000 pixels."""
    header = b"IHDR" + struct.pack(">II", 60_000, 60_000) + picture[24:29]
    return picture[:12] + header + struct.pack(">I", zlib.crc32(header)) + picture[33:]


REFUSED = {
    "missing image": (["--image", "gone.png"], "--image: there is no file gone.png"),
    "folder as image": (["--image", "."], "--image: there is no file ."),
    "cut image": (["--image", "cut.png"], "cut.png is not an image that can be read (image file is truncated"),
    "text as image": (["--image", "text.png"], "text.png is not an image that can be read (cannot identify"),
    "huge image": (["--image", "bomb.png"], "bomb.png is not an image that can be read (Image size (3600000000"),
    "focus of words": (["--focus", "left"], "--focus: write x,y,r as three numbers such as 0.3,0.4,0.2, not 'left'"),
    "focus of two": (["--focus", "0.5,0.5"], "write x,y,r as three numbers"),
    "focus outside": (["--focus", "0.5,1.5,0.2"], "x and y lie in 0..1"),
    "focus of NaN": (["--focus", "nan,0.5,0.2"], "x and y lie in 0..1"),
    "focus without end": (["--focus", "0.5,0.5,inf"], "r is above 0 and at most 10, not 0.5,0.5,inf"),
    "count 0": (["--count", "0"], "--count: give a whole number from 1 to 64, not 0"),
    "count of words": (["--count", "two"], "--count: give a whole number from 1 to 64, not two"),
    "a seed too large": (["--seed", str(2**64 - 1)], "--seed: give a whole number from 0 to 18446744073709551552"),
    "a size too small": (["--size", "16"], "--size: give a whole number from 64 to 2048, not 16"),
    "no steps": (["--steps", "0"], "--steps: give a whole number from 1 to 1000, not 0"),
    "missing checkpoint folder": (["--checkpoint", "gone/weights"], "--checkpoint: there is no folder gone/weights"),
    "no checkpoint": (["--checkpoint", ""], "--checkpoint: there is no folder"),
    "output is nothing": (["--output", ""], "--output: give the name of a folder, such as . for the one you are in"),
    "a focus without end": (["--focus", "9" * 100_000], "write x,y,r as three numbers such as 0.3,0.4,0.2, not '999"),
    "output is a file": (["--output", "text.png"], "--output: text.png is not a folder"),
    "output in a file": (["--output", "text.png/made"], "text.png/made cannot be made (Not a directory)"),
    "unknown option": (["--colour", "red"], "unrecognized arguments: --colour red"),
}


@pytest.mark.parametrize("arguments, complaint", REFUSED.values(), ids=[name.replace(" ", "_") for name in REFUSED])
def test_bad_arguments_are_refused_in_one_sentence(dev, root, tmp_path, arguments, complaint):
    picture = (root / "demo" / "reference.png").read_bytes()
    files = {"cut.png": picture[:3000], "text.png": b"no picture", "bomb.png": bomb(picture)}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    done = run([*dev, *arguments], tmp_path)
    (sentence,) = done.stderr.splitlines()
    assert done.returncode == 2 and "Starting ComfyUI" not in done.stdout
    assert sentence.startswith(("dev.py demo: ", "demo: ")) and complaint in sentence, sentence
    assert set(files) | {"output"} >= set(os.listdir(tmp_path))
