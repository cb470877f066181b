"""The demo: variations of an image through a real ComfyUI, written with one contact sheet."""

from __future__ import annotations

import io
import itertools
import os
import sys
import tempfile
import time
from argparse import Namespace
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

from systems.common.layout import DEMO

from .arguments import sentence
from .comfy_client import ComfyClient, ComfyError, PromptRejected
from .console import console
from .demo_options import demo_options
from .installation import check_checkpoint
from .output import write_file
from .progress import Progress
from .qwen2vl_flux.graph import DEMO_SIDE, circle_dot, variation
from .qwen2vl_flux.request import token_budget
from .server import ComfyServer, ServerFailed, default_comfyui, has_accelerator, leave_on_terminate
from .sheet import contact_sheet, focus_overlay

ROOT = Path(__file__).resolve().parent.parent
LOG = ROOT / ".dev" / "demo.log"


def main() -> None:
    leave_on_terminate()
    with console("demo"):
        options = demo_options(sys.argv[1:])
        try:
            make(options)
        except (ComfyError, ServerFailed) as error:
            problem = error if isinstance(error, ServerFailed) else sentence(error)  # the former shows the log's end
            print(f"\ndemo: {problem}\n(ComfyUI's own log: {LOG})", file=sys.stderr)
            sys.exit(2 if isinstance(error, PromptRejected) else 1)


def make(options: Namespace) -> None:
    """Start the server, make the images and the sheet, print where they are."""
    picture_path = options.image or DEMO / "reference.png"
    reference = _opened(picture_path)
    _make_folder(options.output)
    for remark in remarks(options):
        print(remark)
    checkpoint, environment = options.checkpoint, {}
    if Path(checkpoint).is_absolute():
        environment["CHECKPOINT_DIR"] = checkpoint
        checkpoint = Path(checkpoint).name
    circle = tuple(float(part) for part in options.focus.split(",")) if options.focus else None
    dots = circle_dot(*circle) if circle else ""
    comfyui = default_comfyui()
    check_checkpoint(comfyui, checkpoint, environment.get("CHECKPOINT_DIR") or os.environ.get("CHECKPOINT_DIR"))
    has_accelerator(sys.executable)  # takes seconds: before there is anything to clean up

    started = time.monotonic()
    print("Starting ComfyUI ...", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        folders = {f"{kind}_dir": Path(scratch, kind) for kind in ("output", "input", "temp", "user")}
        extra = ["--disable-api-nodes"]  # starts sooner
        own = {"env": environment, "log": LOG, "leftovers": [Path(scratch)], **folders}
        with ComfyServer(comfyui, extra_args=extra, **own) as server:
            print(f"  answers on {server.url} after {time.monotonic() - started:.1f} s", flush=True)
            client = ComfyClient(server.url)
            _require_checkpoint(client, checkpoint)
            name = client.upload_image(picture_path)
            pictures: dict[int, bytes] = {}
            focus = None
            for number, seed in enumerate(range(options.seed, options.seed + options.count), start=1):
                prompt = variation(
                    name,
                    checkpoint=checkpoint,
                    prompt=options.prompt or "",
                    token_budget=token_budget(checkpoint, options.prompt or ""),
                    dots=dots,
                    size=options.size,
                    steps=options.steps,
                    seed=seed,
                )
                progress = Progress(prompt, f"[{number}/{options.count}] seed {seed}:")
                run = client.run(prompt, progress)
                progress.done()
                pictures[seed] = client.fetch(run.outputs["save"]["images"][0])
                if circle and focus is None:
                    focus = _decoded(client.fetch(run.outputs["focus_save"]["images"][0]))

    left = [(f"reference: {picture_path.name}", reference)]
    if circle and focus:
        left.append((f"focus {options.focus}", focus_overlay(reference, focus, circle)))
    variations = [(f"seed {seed}", _decoded(data)) for seed, data in pictures.items()]
    title = f"Variations: {options.prompt}" if options.prompt else "Variations"
    width, height = variations[0][1].size
    subtitle = f"Qwen2VL-Flux, checkpoint {checkpoint}, {width} x {height}, {options.steps} steps"
    sheet = contact_sheet(title, subtitle, left, variations)

    prefix = _free_prefix(options.output)
    print("Wrote")
    for seed, data in pictures.items():
        path = prefix.with_name(f"{prefix.name}_seed{seed}.png")
        write_file(path, data)
        print(f"  {path}")
    path = prefix.with_name(f"{prefix.name}_sheet.png")
    drawn = io.BytesIO()
    sheet.save(drawn, "PNG")
    write_file(path, drawn.getvalue())
    print(f"  {path}\nin {time.monotonic() - started:.0f} s.")


def remarks(options: Namespace) -> list[str]:
    """What the bundled small model cannot do of what it is asked."""
    if options.checkpoint != DEMO.name:
        return []
    found = []
    if options.image and DEMO.resolve() not in options.image.resolve().parents:
        found.append(
            "The bundled small model knows only its painted scenes (demo/): a photograph is outside what it knows and "
            "becomes coloured shapes. Give --checkpoint the real weights for photographs."
        )
    if options.prompt:
        found.append(
            "The bundled small model has not learned words: a prompt disturbs its images instead of steering them."
        )
    if options.size != DEMO_SIDE:
        found.append(f"The bundled small model knows --size {DEMO_SIDE} only: others come out deformed.")
    return found


def _require_checkpoint(client: ComfyClient, name: str) -> None:
    known = client.object_info()["Qwen2VLLoader"]["input"]["required"]["checkpoint"][1]["options"]
    if name not in known:
        raise ComfyError(
            f"There is no checkpoint {name!r}, only {', '.join(known)}; give the folder that holds qwen2-vl and flux."
        )


def _opened(path: Path) -> Image.Image:
    try:
        with Image.open(path) as picture:
            return ImageOps.exif_transpose(picture).convert("RGB")
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError) as error:
        print(f"demo: {path} is not an image that can be read ({error})", file=sys.stderr)
        sys.exit(2)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        print(f"demo: the folder {folder} cannot be made ({error.strerror})", file=sys.stderr)
        sys.exit(2)


def _decoded(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def _free_prefix(folder: Path) -> Path:
    """folder/variation_001, or the first number of which no file is there yet."""
    names = (f"variation_{number:03d}" for number in itertools.count(1))
    return folder / next(name for name in names if not any(folder.glob(f"{name}_*")))


if __name__ == "__main__":
    main()
