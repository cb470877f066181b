"""dev.py's own decisions, on a copy of it in a folder of its own, so that nothing here reaches .dev/."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType

import pytest
import torch
from PIL import Image
from sentences import one_sentence

from client.arguments import DEFAULT_SERVER
from client.demo_options import demo_options
from client.installation import PACK, Problem, check_checkpoint


@pytest.fixture
def dev(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """dev.py of a repository in a temporary folder."""
    for package in ("client", "systems"):
        shutil.copytree(root / package, tmp_path / "repository" / package)
    monkeypatch.syspath_prepend(tmp_path / "repository")
    spec = importlib.util.spec_from_file_location("dev", shutil.copy(root / "dev.py", tmp_path / "repository"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def comfyui(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that passes for ComfyUI, in a folder of its own; no COMFYUI_ variable is set."""
    monkeypatch.delenv("COMFYUI_PATH", raising=False)
    monkeypatch.delenv("COMFYUI_PYTHON", raising=False)
    folder = tmp_path / "portable" / "ComfyUI"
    folder.mkdir(parents=True)
    (folder / "main.py").touch()
    return folder


def touched(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


# ---- what is done once ---------------------------------------------------------------------------------------------


def test_once_per_thing_asked(dev, tmp_path):
    stamp, done = tmp_path / "stamps" / "thing", []
    for asked in ("a", "a", "b", "b", "a"):
        dev.once(stamp, asked, "Doing", lambda asked=asked: done.append(asked))
    assert done == ["a", "b", "a"]


def test_what_failed_is_done_again(dev, tmp_path):
    stamp, done = tmp_path / "thing", []
    dev.once(stamp, "a", "Doing", lambda: done.append(1))
    with pytest.raises(ZeroDivisionError):
        dev.once(stamp, "b", "Doing", lambda: 1 / 0)
    assert not stamp.exists()
    dev.once(stamp, "a", "Doing", lambda: done.append(2))  # what the failed one left behind is unknown
    assert done == [1, 2]


def test_stamps_go_with_their_environment(dev, tmp_path):
    inside = dev.stamps_for(dev.python_in(dev.DEV / "venv"))
    assert inside == dev.DEV / "venv" / ".stamps"
    others = {dev.stamps_for(tmp_path / name / "bin" / "python") for name in ("one", "two")}
    assert len(others) == 2 and all(dev.DEV in stamps.parents for stamps in others)


def test_install_by_pip(dev, tmp_path, capfd):
    """Once for the same lists, again for others; what pip could not install counts as not done."""
    python, requirements = Path(sys.executable), tmp_path / "requirements.txt"
    requirements.write_text("pip\n")  # which is there, so that nothing is fetched
    dev.install(python, "pack", [], [requirements])
    dev.install(python, "pack", [], [requirements])
    assert capfd.readouterr().out.count("Installing pack") == 1
    requirements.write_text(f"{tmp_path / 'gone'}\n")
    for _ in range(2):
        with pytest.raises(dev.Problem, match="^pip could not install pack for .*; its own message stands above$"):
            dev.install(python, "pack", [], [requirements])
        said = capfd.readouterr()
        assert "Installing pack" in said.out and "gone" in said.err


# ---- the clients' environment ----------------------------------------------------------------------------------------


def test_clients_live_by_themselves(dev, monkeypatch, capfd):
    """Nothing of ComfyUI's environment is there, so that a client cannot reach around the server."""
    monkeypatch.setattr(dev, "CLIENTS", ("pip",))  # which is there, so that nothing is fetched
    programs = dev.clients()
    assert programs == dev.python_in(dev.DEV / "clients").parent
    assert capfd.readouterr().out.count(" ...") == 2
    dev.clients()
    assert "..." not in capfd.readouterr().out
    code = "import importlib.util; print(importlib.util.find_spec('torch'))"
    found = subprocess.run([programs / "python", "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "None\n"


# ---- the oracles' environment ----------------------------------------------------------------------------------------


def test_oracles_see_the_packages_of_comfyui(dev, tmp_path, monkeypatch, capfd):
    """torch comes from ComfyUI's interpreter; another interpreter gets another environment."""
    monkeypatch.setattr(dev, "BUILDERS", ("pip",))  # which is there, so that nothing is fetched
    monkeypatch.setattr(dev, "ORACLES", ("pip",))
    monkeypatch.setenv("SAM2_BUILD_CUDA", "1")
    python = Path(sys.executable)
    oracle = dev.oracles(python)
    assert oracle == dev.python_in(dev.DEV / "oracles")
    code = "import sys, torch; print(sys.prefix); print(torch.__file__)"
    prefix, seen = subprocess.run([oracle, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert Path(prefix) == dev.DEV / "oracles" and seen == torch.__file__
    assert os.environ["SAM2_BUILD_CUDA"] == "0"
    assert capfd.readouterr().out.count(" ...") == 3
    dev.oracles(python)
    assert "..." not in capfd.readouterr().out
    other = tmp_path / "other"
    subprocess.run([python, "-m", "venv", "--without-pip", other], check=True)
    with pytest.raises(dev.Problem, match="cannot import torch, which the oracles of the tests need; install torch"):
        dev.oracles(dev.python_in(other))
    (packages,) = other.glob("[Ll]ib/**/site-packages")
    (packages / "comfyui.pth").write_text(str(Path(torch.__file__).parent.parent))
    dev.oracles(dev.python_in(other))
    assert capfd.readouterr().out.count(" ...") == 3


# ---- ComfyUI -------------------------------------------------------------------------------------------------------


def test_interpreter_in_or_beside_an_existing_comfyui(dev, comfyui):
    assert dev.existing_comfyui(str(comfyui)) == (comfyui, Path(sys.executable))
    expected = [
        comfyui.parent / "python_embeded" / "python.exe",
        dev.python_in(comfyui.parent / ".venv"),
        dev.python_in(comfyui.parent / "venv"),
        dev.python_in(comfyui / ".venv"),
        dev.python_in(comfyui / "venv"),
    ]
    for python in expected:  # each goes before the ones above it
        touched(python)
        assert dev.existing_comfyui(str(comfyui)) == (comfyui, python)


def test_comfyui_python_goes_before_all(dev, comfyui, tmp_path, monkeypatch):
    touched(dev.python_in(comfyui / "venv"))
    link = tmp_path / "own"
    link.symlink_to(sys.executable)  # as in a virtual environment, where the link is what counts
    monkeypatch.setenv("COMFYUI_PYTHON", str(link))
    assert dev.existing_comfyui(str(comfyui)) == (comfyui, link)
    monkeypatch.setenv("COMFYUI_PYTHON", str(tmp_path / "gone"))
    with pytest.raises(dev.Problem, match="^COMFYUI_PYTHON=.*gone does not exist$"):
        dev.existing_comfyui(str(comfyui))


def test_a_relative_comfyui_path(dev, comfyui, monkeypatch):
    monkeypatch.chdir(comfyui.parent)
    assert dev.existing_comfyui("ComfyUI")[0] == comfyui


def test_a_path_without_comfyui(dev, tmp_path):
    """Through the command line, as people meet it."""
    environment = {**os.environ, "COMFYUI_PATH": str(tmp_path)}
    command = [sys.executable, dev.__file__, "demo"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == f"dev.py: COMFYUI_PATH={tmp_path} is not a ComfyUI folder: it has no main.py.\n"


@pytest.mark.parametrize(
    "variable, value, complaint",
    [
        ("COMFYUI_PATH", "~no_such_user/x", "COMFYUI_PATH=~no_such_user/x is not a ComfyUI folder"),
        ("COMFYUI_PATH", "9" * 5000, "is not a ComfyUI folder: it has no main.py."),
        ("COMFYUI_PATH", "/dev/null/x", "COMFYUI_PATH=/dev/null/x is not a ComfyUI folder"),
        ("COMFYUI_PYTHON", "~no_such_user/python", "~no_such_user/python does not exist."),
        ("COMFYUI_PYTHON", "/bin/false", "COMFYUI_PYTHON=/bin/false is not a Python that runs; set it to ComfyUI's"),
        ("COMFYUI_PYTHON", "/bin/echo", "COMFYUI_PYTHON=/bin/echo is not a Python that runs"),
        ("COMFYUI_PYTHON", "/etc/hostname", "COMFYUI_PYTHON=/etc/hostname is not a Python that runs"),
    ],
)
@pytest.mark.parametrize("program", ["dev.py", "generate.py"])
def test_variables_that_name_nothing_of_use(root, dev, comfyui, tmp_path, program, variable, value, complaint):
    shutil.copy(root / "generate.py", dev.ROOT)
    picture = touched(tmp_path / "photo.png")
    own = ["demo"] if program == "dev.py" else ["--mode", "variation", "--input_image", str(picture), "--device", "cpu"]
    module = dev.ROOT / "client" / "arguments.py"
    module.write_text(module.read_text().replace(DEFAULT_SERVER, "http://127.0.0.1:1"))
    environment = {**os.environ, "COMFYUI_PATH": str(comfyui), variable: value}
    command = [sys.executable, dev.ROOT / program, *own]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode in (1, 2) and not done.stdout
    assert complaint in one_sentence(done.stderr.removesuffix("\n"))


@pytest.mark.parametrize("port", ["99999", "65536", "0", "-1", "http", "8188.5", "9" * 5000])
def test_a_port_that_is_none(dev, tmp_path, port):
    """Said before anything is set up."""
    done = subprocess.run([sys.executable, dev.__file__, "serve", "--port", port], capture_output=True, text=True)
    assert done.returncode == 2 and not done.stdout
    assert "--port: give a whole number from 1 to 65535, not " in one_sentence(done.stderr.removesuffix("\n"))
    assert not list(dev.DEV.iterdir())


def test_a_command_without_end(dev):
    done = subprocess.run([sys.executable, dev.__file__, "x" * 100_000], capture_output=True, text=True)
    assert done.returncode == 2 and "'demo', 'serve'" in one_sentence(done.stderr.removesuffix("\n"))


def test_a_comfyui_that_is_there_is_not_fetched(dev, comfyui):
    version = comfyui / "comfyui_version.py"
    for wanted in dev.VERSIONS:
        version.write_text(f'__version__ = "{wanted}"\n')
        dev.fetch_comfyui(comfyui, wanted, Path("no interpreter is needed"))
        version.write_text('__version__ = "0.1.0"\n')
        with pytest.raises(dev.Problem, match=f"is not ComfyUI {wanted}; move it away"):
            dev.fetch_comfyui(comfyui, wanted, Path("no interpreter is needed"))


def test_an_interpreter_that_leaves_out_the_folder_of_its_script(dev, comfyui, tmp_path):
    """Windows portable's is always isolated; this one becomes so. ComfyUI's start is as far as it has to come."""
    python = touched(tmp_path / "python")
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I "$@"\n')
    python.chmod(0o755)
    (comfyui / "main.py").write_text("raise SystemExit(7)")
    (dev.ROOT / "requirements.txt").touch()
    (dev.ROOT / "demo").mkdir()
    Image.new("RGB", (8, 8)).save(dev.ROOT / "demo" / "reference.png")
    environment = {**os.environ, "COMFYUI_PATH": str(comfyui), "COMFYUI_PYTHON": str(python)}
    command = [python, dev.__file__, "demo", "--output", tmp_path / "made"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert "ComfyUI ended at its start (exit status 7)" in done.stderr, done.stderr


# ---- other versions --------------------------------------------------------------------------------------------------


def test_another_comfyui_beside_the_first(dev, tmp_path, monkeypatch, capfd):
    """In an environment of its own that sees torch of the first's; the pack is linked there too."""
    monkeypatch.setattr(dev, "PINNED", ("pip",))  # which is there, so that nothing is fetched
    (dev.ROOT / "requirements.txt").touch()
    version = next(iter(dev.VERSIONS))
    folder = dev.DEV / f"ComfyUI-{version}"
    touched(folder / "requirements.txt")
    (folder / "comfyui_version.py").write_text(f'__version__ = "{version}"\n')
    found, python = dev.other_comfyui(version, Path(sys.executable))
    assert found == folder and (folder / "custom_nodes" / PACK).resolve() == dev.ROOT
    code = "import sys, torch; print(sys.prefix); print(torch.__file__)"
    prefix, seen = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert Path(prefix) == dev.DEV / f"venv-{version}" and seen == torch.__file__
    assert capfd.readouterr().out.count(" ...") == 2
    dev.other_comfyui(version, Path(sys.executable))
    assert "..." not in capfd.readouterr().out


def test_the_newest_is_the_one_that_is_set_up(dev):
    """`--all` then adds the oldest, or both ends where the suite itself runs on one between them."""
    versions = list(dev.VERSIONS)
    assert versions == sorted(versions, key=lambda version: [int(part) for part in version.split(".")])
    assert versions[-1] == dev.COMFYUI_VERSION
    assert dev.smoked(versions[-1]) == [versions[0]]
    assert dev.smoked(versions[0]) == [versions[-1]]
    assert dev.smoked(versions[1]) == [versions[0], versions[-1]]


def test_the_oldest_is_the_one_that_the_pack_asks_for(dev, root):
    """So that `--all` always runs on what is stated, here and where people and the Registry read it."""
    oldest, newest = next(iter(dev.VERSIONS)), dev.COMFYUI_VERSION
    assert f'requires-comfyui = ">={oldest}"' in (root / "pyproject.toml").read_text()
    readme = (root / "README.md").read_text("utf-8")
    assert f"({oldest} or newer)" in readme and f"sets up ComfyUI {newest} " in readme


def test_the_smoke_is_made_of_tests(dev, root):
    assert dev.pytest_runs(dev.SMOKE) == ([*dev.SMOKE, *LEFT_OUT], None)
    assert not dev.wants_browser(dev.SMOKE) and all((root / path).is_file() for path in dev.SMOKE)


def test_a_web_interface_by_its_version(dev, tmp_path, monkeypatch):
    """Out of its package, each in a folder of its own; here out of a wheel beside us, so that nothing is fetched."""
    for version in ("1.0.0", "2.0.0"):
        wheel(tmp_path, "comfyui_frontend_package", version, "static/index.html")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    for version in ("1.0.0", "2.0.0"):
        assert (dev.frontend(version) / "index.html").read_text() == version
    with pytest.raises(dev.Problem, match="^pip could not install frontend for .*frontend-3.0.0"):
        dev.frontend("3.0.0")


def wheel(folder: Path, package: str, version: str, file: str) -> None:
    """A package of one file, which holds its version."""
    about = f"{package}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{package}-{version}-py3-none-any.whl", "w") as archive:
        archive.writestr(f"{package}/{file}", version)
        archive.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{about}/RECORD", "")


@pytest.mark.parametrize("arguments", [["--all"], ["--comfyui", "0.24.1"], ["tests/unit", "--comfyui=0.24.1", "-x"]])
def test_one_comfyui_is_not_another(dev, comfyui, monkeypatch, arguments):
    monkeypatch.setenv("COMFYUI_PATH", str(comfyui))
    with pytest.raises(dev.Problem, match="^COMFYUI_PATH names the one ComfyUI to test on; unset it to test"):
        dev.test(arguments)


@pytest.mark.parametrize("arguments", [["--comfyui", "0.1.0"], ["--comfyui=newest"], ["--comfyui"]])
def test_a_comfyui_that_nobody_carries(dev, capsys, arguments):
    with pytest.raises(SystemExit, match="^2$"):
        dev.test(arguments)
    said = capsys.readouterr().err
    assert all(version in said for version in dev.VERSIONS) or "expected one argument" in said


# ---- the link ------------------------------------------------------------------------------------------------------


def test_link_is_made_once(dev, comfyui):
    for _ in range(2):
        dev.link_pack(comfyui / "custom_nodes", dev.ROOT)
        (link,) = (comfyui / "custom_nodes").iterdir()
        assert link.name == PACK and link.resolve() == dev.ROOT


def test_a_link_to_a_place_that_is_gone_is_renewed(dev, comfyui, tmp_path):
    link = comfyui / "custom_nodes" / PACK
    link.parent.mkdir()
    link.symlink_to(tmp_path / "gone")
    dev.link_pack(link.parent, dev.ROOT)
    assert link.resolve() == dev.ROOT


@pytest.mark.parametrize("name", ["ComfyUI-Qwen2VL-Flux", "under another name"])
def test_a_pack_that_is_there_already_is_not_linked_again(dev, tmp_path, name):
    """Cloned into custom_nodes, or linked there by hand."""
    custom_nodes = tmp_path / "custom_nodes"
    custom_nodes.mkdir()
    (custom_nodes / name).symlink_to(dev.ROOT)
    dev.link_pack(custom_nodes, dev.ROOT)
    dev.link_pack(dev.ROOT.parent, dev.ROOT)
    assert [entry.name for entry in custom_nodes.iterdir()] == [name]
    assert not (dev.ROOT.parent / PACK).exists()


@pytest.mark.parametrize("name", ["ComfyUI-Qwen2VL-Flux", "comfyui-qwen2vl-flux"])
def test_another_copy_is_refused_and_left_alone(dev, comfyui, name):
    copy = comfyui / "custom_nodes" / name
    touched(copy / "__init__.py")
    touched(comfyui / "custom_nodes" / "other-pack" / "__init__.py")
    with pytest.raises(dev.Problem, match=f"{name} is another copy of the pack"):
        dev.link_pack(copy.parent, dev.ROOT)
    assert (copy / "__init__.py").is_file() and not copy.is_symlink()
    assert {entry.name for entry in copy.parent.iterdir()} == {name, "other-pack"}


# ---- the tests' command line -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments, wanted",
    [
        ([], True),
        (["-k", "focus"], True),
        (["tests"], True),
        (["tests/", "-q"], True),
        (["tests/browser"], True),
        (["tests/browser/test_templates.py::test_shown"], True),
        (["tests/unit", "tests/browser"], True),
        (["-k", "tests_of_focus"], True),
        (["tests/unit"], False),
        (["./tests/server/test_demo.py", "-k", "browser"], False),
    ],
)
def test_a_browser_is_wanted_when_its_tests_can_run(dev, arguments, wanted):
    assert not dev.wants_browser(arguments)
    (dev.ROOT / "tests" / "browser").mkdir(parents=True)
    assert dev.wants_browser(arguments) == wanted


LEFT_OUT = ["--ignore=tests/training", "--ignore=tests/lab"]
SHARED = ["-n", "2", "--dist", "loadfile"]
QUICK = [*SHARED, "-m", "not slow"]


@pytest.mark.parametrize(
    "arguments, rest, trains",
    [
        ([], [*QUICK, *LEFT_OUT], [*QUICK, "tests/training"]),
        (["-k", "focus"], [*QUICK, "-k", "focus", *LEFT_OUT], [*QUICK, "-k", "focus", "tests/training"]),
        (["tests", "-x"], [*QUICK, "-x", "tests", *LEFT_OUT], [*QUICK, "-x", "tests/training"]),
        (["tests/unit", "-m", "slow"], [*QUICK, "-m", "slow", "tests/unit", *LEFT_OUT], None),
        (["tests/unit/test_dev.py"], ["tests/unit/test_dev.py", *LEFT_OUT], None),
        (["tests/training/", "-k", "x"], None, [*QUICK, "-k", "x", "tests/training/"]),
        (["tests/training/test_rows.py::test_folder"], None, ["tests/training/test_rows.py::test_folder"]),
        (["tests/lab/test_judge.py"], None, ["tests/lab/test_judge.py"]),
        (["tests/lab"], None, [*QUICK, "tests/lab"]),
        (["tests/unit", "tests/training"], [*QUICK, "tests/unit", *LEFT_OUT], [*QUICK, "tests/training"]),
    ],
)
def test_two_runs_of_pytest(dev, arguments, rest, trains):
    """tests/training runs by itself, with the packages of training, when its tests can be meant; what is slow runs when
    its file is named. What pytest is told again counts, so that -m and -n can be given too."""
    assert dev.pytest_runs(arguments) == (rest, trains)


@pytest.mark.parametrize(
    "arguments, rest, trains",
    [
        ([], [*SHARED, *LEFT_OUT], [*SHARED, "tests/training", "tests/lab"]),
        (["tests"], [*SHARED, "tests", *LEFT_OUT], [*SHARED, "tests/training", "tests/lab"]),
        (["tests/parity"], [*SHARED, "tests/parity", *LEFT_OUT], None),
        (["tests/training"], None, [*SHARED, "tests/training"]),
    ],
)
def test_all_takes_what_is_slow_and_the_lab(dev, arguments, rest, trains):
    assert dev.pytest_runs(arguments, everything=True) == (rest, trains)


def test_the_training_sees_the_packages_of_comfyui(dev, monkeypatch):
    monkeypatch.setattr(dev, "TRAINING", ("pip",))  # which is there, so that nothing is fetched
    trainer = dev.training(Path(sys.executable))
    assert trainer == dev.python_in(dev.DEV / "training")
    code = "import sys, torch; print(sys.prefix); print(torch.__file__)"
    prefix, seen = subprocess.run([trainer, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert Path(prefix) == dev.DEV / "training" and seen == torch.__file__


def test_checkpoints_that_a_comfyui_of_ours_cannot_know(comfyui, tmp_path):
    """As ComfyUI would list them, without starting it: by the models folder, CHECKPOINT_DIR and the pack's own."""
    models, own = comfyui / "models" / "qwen2vl_flux", tmp_path / "own"
    (models / "published" / "flux").mkdir(parents=True)
    (models / "empty").mkdir()
    (own / "several" / "qwen2-vl").mkdir(parents=True)
    (tmp_path / "single" / "qwen2-vl").mkdir(parents=True)
    (models / "linked").symlink_to(tmp_path / "single")
    for name, named in (
        ("published", None),
        ("linked", None),
        ("demo", None),
        ("several", own),
        ("published", own),
        ("single", tmp_path / "single"),
    ):
        check_checkpoint(comfyui, name, named)
    for name, named in (("gone", None), ("empty", None), ("several", None), ("single", own), ("own", own)):
        with pytest.raises(Problem, match=f"There is no checkpoint '{name}' in {models}") as raised:
            check_checkpoint(comfyui, name, named)
        assert named is None or str(named) in str(raised.value)
    (comfyui / "extra_model_paths.yaml").touch()  # what it names, ComfyUI alone knows
    check_checkpoint(comfyui, "gone", None)


def test_the_bundled_checkpoint_by_its_path(root, monkeypatch):
    """What a shell completes: the folder, with a slash behind it."""
    monkeypatch.chdir(root)
    options = demo_options(["--checkpoint", "demo/"])
    assert (options.checkpoint, options.size, options.steps) == ("demo", 128, 20)


@pytest.mark.parametrize("arguments", [["--output", ""], ["--output="]])
def test_pictures_into_nothing(capsys, arguments):
    with pytest.raises(SystemExit):
        demo_options(arguments)
    assert "--output: give the name of a folder, such as . for" in one_sentence(
        capsys.readouterr().err.removesuffix("\n")
    )
