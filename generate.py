#!/usr/bin/env python3
"""Pictures with Qwen2VL-Flux from the command line; --help lists the flags.

  python3 generate.py --mode variation --input_image photo.jpg

Runs with any Python 3.10+: where that lacks what the client needs, ComfyUI's own interpreter takes over.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if sys.version_info < (3, 10):  # noqa: UP036
    sys.exit(f"generate.py needs Python 3.10 or newer; this is {sys.version.split()[0]}.")

sys.path.insert(0, str(Path(__file__).resolve().parent))  # Windows portable's interpreter leaves it out

from automation.generate_options import DEFAULT_SERVER, Options, generate_options, sentence
from automation.installation import Problem, existing_comfyui, link_pack
from automation.output import check_folder, write_picture

if TYPE_CHECKING:
    from automation.client import ComfyClient
    from automation.graphs import Prompt
    from automation.request import Request

ROOT = Path(__file__).resolve().parent
HANDED_OVER = "QWEN2VL_FLUX_HANDED_OVER"  # to the interpreter named by its value


def main() -> None:
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # a console that cannot show a name shows something
    options = generate_options(sys.argv[1:])
    if not options.save_prompt:
        try:
            check_folder(options.output_dir)
        except Problem as problem:
            fail(problem, 2)
    try:
        server = options.server or ("" if options.checkpoint_folder else running())
        hand_over(starts=not server)
        from automation.server import leave_on_terminate

        leave_on_terminate()
        for remark in options.remarks:
            print(remark)
        with contextlib.nullcontext(server) if server else own_server(options) as url:
            work(options, url, own=not server)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # nobody reads what we print
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Problem as problem:
        fail(problem)
    except OSError as error:
        fail(f"{error.filename or 'The system says'}: {error.strerror}")


def fail(problem: object, status: int = 1) -> NoReturn:
    print(f"generate.py: {sentence(problem)}", file=sys.stderr)
    sys.exit(status)


# ---- the interpreter and the server --------------------------------------------------------------------------------


def running() -> str:
    """The usual address when a ComfyUI answers there, else nothing."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{DEFAULT_SERVER}/system_stats", timeout=5) as answer:
            return DEFAULT_SERVER if "comfyui_version" in json.load(answer)["system"] else ""
    except (OSError, ValueError, KeyError, TypeError):
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


def hand_over(starts: bool) -> None:
    """Go on in ComfyUI's interpreter when this one cannot talk to a server, or is not the one to start it with.
    Raises Problem when there is none."""
    able = importlib.util.find_spec("aiohttp") is not None
    handed = os.environ.pop(HANDED_OVER, "")
    if able and not starts:
        return
    found = comfyui()
    if found is None and starts:
        raise Problem(
            f"No ComfyUI answers on {DEFAULT_SERVER} and there is none to start; start yours, give --server, set "
            f"COMFYUI_PATH to its folder, or run python3 {ROOT / 'dev.py'} demo once"
        )
    python = found[1] if found else Path(os.environ.get("COMFYUI_PYTHON") or sys.executable).expanduser().absolute()
    if not python.is_file():
        raise Problem(f"COMFYUI_PYTHON={python} does not exist")
    if str(python) in (handed, sys.executable):
        if able:
            return
        raise Problem(
            f"{python} lacks the package aiohttp, which ComfyUI's interpreter has; set COMFYUI_PATH to ComfyUI's "
            "folder, or COMFYUI_PYTHON to its interpreter"
        )
    os.environ[HANDED_OVER] = str(python)
    command = [str(python), str(ROOT / "generate.py"), *sys.argv[1:]]
    sys.stdout.flush()
    if os.name == "posix":
        os.execv(command[0], command)
    sys.exit(subprocess.run(command).returncode)


@contextlib.contextmanager
def own_server(options: Options) -> Iterator[str]:
    """The address of a ComfyUI that runs until the context is left. Its log stays behind when something fails."""
    from automation.client import NodeFailed, ServerUnreachable
    from automation.server import ComfyServer, ServerFailed

    folder, python = comfyui()
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
            with ComfyServer(folder, python, extra_args=extra, env=environment, log=log, **folders) as server:
                print(f"  answers on {server.url}", flush=True)
                yield server.url
        except ServerFailed as error:
            raise Problem(f"{str(error).splitlines()[0]}; its log is {log}") from None
        except Problem as problem:
            if not isinstance(problem.__cause__, (NodeFailed, ServerUnreachable)):  # its log says no more
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
    from automation.client import ComfyClient, ComfyError
    from automation.generate import prompts

    client = ComfyClient(url)
    try:
        device = client.device()
        if options.device not in (None, device):
            raise Problem(
                f"The ComfyUI on {url} computes on {device}, not on {options.device}; leave --device out or give "
                "another --server"
            )
        if options.save_prompt:
            prompt = next(prompts(options.request, client))[1]
            options.save_prompt.write_text(json.dumps(prompt, indent=2) + "\n", encoding="utf-8")
            print(f"Wrote {options.save_prompt}")
            if own:
                pictures = ", ".join(pictures_read(options.request, prompt))
                print(f"Before you queue it, put into ComfyUI's input folder: {pictures}")
            return
        make(options, client)
    except ComfyError as error:
        raise Problem(str(error)) from error


def pictures_read(request: Request, prompt: Prompt) -> list[str]:
    """The pictures that a prompt opens, each with the name it has there where that is another one."""
    paths = {"image": request.input_image, "reference": request.reference_image, "mask": request.mask_image}
    names = {path: prompt[key]["inputs"]["image"] for key, path in paths.items() if path}
    return [str(path) if path.name == name else f"{path} as {name}" for path, name in names.items()]


def make(options: Options, client: ComfyClient) -> None:
    from automation.generate import generate
    from automation.progress import Progress

    asked, progress = options.request, None

    def watch(seed: int, prompt: dict) -> Progress:
        nonlocal progress
        progress = Progress(prompt, f"[{seed - asked.seed + 1}/{asked.image_count}] seed {seed}:")
        progress.say("queued")
        return progress

    try:
        for picture in generate(asked, client, watch):
            progress.done()
            path = write_picture(options.output_dir, f"{asked.mode}_{picture.seed}", picture.data)
            print(f"Wrote {path}", flush=True)
    finally:
        if progress:
            progress.leave()


if __name__ == "__main__":
    main()
