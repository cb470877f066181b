"""What generate.py does: finds the interpreter and the server, makes the pictures and writes them.

Starts with the standard library only, in any interpreter; what needs more is imported once the right one runs.
"""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .console import console, fail
from .installation import Problem, check_checkpoint, existing_comfyui, has_packages, link_pack, named_python
from .output import check_folder, write_file, write_picture
from .qwen2vl_flux.options import DEFAULT_SERVER, Options, generate_options

if TYPE_CHECKING:
    from .comfy_client import ComfyClient
    from .qwen2vl_flux.generate import Picture
    from .qwen2vl_flux.graph import Prompt
    from .qwen2vl_flux.request import Request

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = ROOT / "generate.py"
HANDED_OVER = "QWEN2VL_FLUX_HANDED_OVER"  # to the interpreter named by its value


def main() -> None:
    with console(PROGRAM.name):
        options = generate_options(sys.argv[1:])
        if not options.save_prompt:
            try:
                check_folder(options.output_dir)
            except Problem as problem:
                fail(PROGRAM.name, problem, 2)
        server = options.server or ("" if options.checkpoint_folder else running())
        packages = ["aiohttp", *(["PIL"] if options.request.mask_image else [])]  # what the client needs
        hand_over(packages, starts=not server)
        from .server import leave_on_terminate

        leave_on_terminate()
        for remark in options.remarks:
            print(remark)
        with contextlib.nullcontext(server) if server else own_server(options) as url:
            work(options, url, own=not server)


# ---- the interpreter and the server --------------------------------------------------------------------------------


def running() -> str:
    """The usual address when a ComfyUI answers there, else nothing."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{DEFAULT_SERVER}/system_stats", timeout=5) as answer:
            return DEFAULT_SERVER if "comfyui_version" in json.load(answer)["system"] else ""
    except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError, RecursionError):
        return ""


def comfyui() -> tuple[Path, Path] | None:
    """The ComfyUI we could start and its interpreter: COMFYUI_PATH, the one around this pack, or dev.py's."""
    if os.environ.get("COMFYUI_PATH"):
        return existing_comfyui(os.environ["COMFYUI_PATH"])
    around = [ROOT.parent.parent] if ROOT.parent.name == "custom_nodes" else []
    for folder in (*around, ROOT / ".dev" / "ComfyUI"):
        if (folder / "main.py").is_file():
            return existing_comfyui(str(folder))
    return None


def hand_over(packages: Sequence[str], starts: bool) -> None:
    """Go on in ComfyUI's interpreter when this one lacks one of the packages, or is not the one to start ComfyUI with.
    Raises Problem when there is none."""
    able = all(importlib.util.find_spec(package) for package in packages)
    handed = os.environ.pop(HANDED_OVER, "")
    if able and not starts:
        return
    found = comfyui()
    if found is None and starts:
        raise Problem(
            f"No ComfyUI answers on {DEFAULT_SERVER} and there is none to start; start yours, give --server, set "
            f"COMFYUI_PATH to its folder, or run python3 {ROOT / 'dev.py'} demo once"
        )
    python = found[1] if found else named_python() or Path(sys.executable)
    here = str(python) in (handed, sys.executable)
    if not (able if here else has_packages(python, *packages)):
        raise Problem(
            f"{python} lacks {' or '.join(packages)}, which ComfyUI's interpreter has; set "
            "COMFYUI_PATH to ComfyUI's folder, or COMFYUI_PYTHON to its interpreter"
        )
    if here:
        return
    os.environ[HANDED_OVER] = str(python)
    command = [str(python), str(PROGRAM), *sys.argv[1:]]
    sys.stdout.flush()
    if os.name == "posix":
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # until generate.py hears Ctrl-C again
        os.execv(command[0], command)
    sys.exit(subprocess.run(command).returncode)


@contextlib.contextmanager
def own_server(options: Options) -> Iterator[str]:
    """The address of a ComfyUI that runs until the context is left. Its log stays behind when something fails."""
    from .comfy_client import NodeFailed, ServerUnreachable, WorkerDied
    from .server import ComfyServer, ServerFailed, has_accelerator

    folder, python = comfyui()
    if options.request.checkpoint:
        place = options.checkpoint_folder or os.environ.get("CHECKPOINT_DIR")
        check_checkpoint(folder, options.request.checkpoint, place)
    has_accelerator(str(python))  # takes seconds: before there is anything to clean up
    link_pack(folder / "custom_nodes", ROOT)
    environment = {"CHECKPOINT_DIR": str(options.checkpoint_folder)} if options.checkpoint_folder else {}
    extra = ["--disable-api-nodes", *(["--cpu"] if options.device == "cpu" else [])]  # without them it starts sooner
    handle, name = tempfile.mkstemp(prefix="comfyui-", suffix=".log")
    os.close(handle)
    log = Path(name)
    print("Starting ComfyUI ...", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        folders = {f"{kind}_dir": Path(scratch, kind) for kind in ("output", "input", "temp", "user")}
        try:
            own = {"env": environment, "log": log, "leftovers": (Path(scratch), log), **folders}
            with ComfyServer(folder, python, extra_args=extra, **own) as server:
                print(f"  answers on {server.url}", flush=True)
                yield server.url
        except ServerFailed as error:
            raise Problem(f"{str(error).splitlines()[0]}; its log is {log}") from None
        except Problem as problem:
            if not isinstance(problem.__cause__, (NodeFailed, ServerUnreachable, WorkerDied)):  # its log says no more
                log.unlink()
                raise
            raise Problem(f"{str(problem).rstrip('.')}; ComfyUI's log is {log}") from None
        except BaseException:
            log.unlink()
            raise
    log.unlink()


# ---- the work ------------------------------------------------------------------------------------------------------


def work(options: Options, url: str, own: bool) -> None:
    """Make the pictures, or write the prompt, on the server at `url`; what is uploaded to one of our `own` is gone
    with it. Raises Problem."""
    from .comfy_client import ComfyClient, ComfyError

    client = ComfyClient(url)
    try:
        device = client.device()
        if options.device not in (None, device):
            raise Problem(
                f"The ComfyUI on {client.url} computes on {device}, not on {options.device}; leave --device out or "
                "give another --server"
            )
        if options.save_prompt:
            save_prompt(options, client, own)
            return
        make(options, client)
    except ComfyError as error:
        raise Problem(str(error)) from error


def save_prompt(options: Options, client: ComfyClient, own: bool) -> None:
    """Write the prompt, and say which pictures it opens: those it reads on a server of our own are gone with it."""
    from .qwen2vl_flux.generate import prompts

    request, path = options.request, options.save_prompt
    prompt = next(prompts(request, client))[1]
    write_file(path, (json.dumps(prompt, indent=2) + "\n").encode())
    print(f"Wrote {path}")
    if own:
        pictures = ", ".join(pictures_read(request, prompt, path.parent))
        print(f"Before you queue it, put into ComfyUI's input folder: {pictures}")


def pictures_read(request: Request, prompt: Prompt, folder: Path) -> list[str]:
    """The pictures that a prompt opens, each with the name it has there where that is another one. The mask, which was
    made grey for it, is written into the folder."""
    from .masks import grey_mask

    paths = {"image": request.input_image, "reference": request.reference_image, "mask": request.mask_image}
    names = {key: prompt[key]["inputs"]["image"] for key, path in paths.items() if path}
    if request.mask_image:
        paths["mask"] = write_picture(folder, Path(names["mask"]).stem, grey_mask(request.mask_image))
    told = [(path, names[key]) for key, path in paths.items() if path]
    return [str(path) if path.name == name else f"{path} as {name}" for path, name in told]


def make(options: Options, client: ComfyClient) -> None:
    from .progress import Progress
    from .qwen2vl_flux.generate import generate

    asked, progress = options.request, None

    def watch(seed: int, prompt: dict) -> Progress:
        nonlocal progress
        done = sum(asked.batches[: seed - asked.seed])
        last = done + asked.batches[seed - asked.seed]
        numbers = f"{last}" if last == done + 1 else f"{done + 1}-{last}"
        progress = Progress(prompt, f"[{numbers}/{asked.image_count}] seed {seed}:")
        progress.say("queued")
        return progress

    try:
        for picture in generate(asked, client, watch):
            if picture.number == 1:
                progress.done()
            path = write_picture(options.output_dir, stem(asked, picture), picture.data)
            print(f"Wrote {path}", flush=True)
    finally:
        if progress:
            progress.leave()


def stem(request: Request, picture: Picture) -> str:
    """The name of a picture's file: its seed, and in batches which of those with that seed it is."""
    name = f"{request.mode}_{picture.seed}"
    batch = request.batches[picture.seed - request.seed]
    return name if request.batch_size == 1 else f"{name}_{picture.number}of{batch}"
