"""The repository in folders of other names than its own, and what .ci/run runs, and where."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from packing import run, working_tree

from client.server import default_comfyui

# ---- any name --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def copy(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return working_tree(root, tmp_path_factory.mktemp("repository") / "copy")


@pytest.mark.parametrize(
    "name, folder, argument",
    [
        pytest.param("ComfyUI-Qwen2VL-Flux", ".", "tests/unit/test_sizes.py", marks=pytest.mark.slow),  # .ci/run does
        ("2.0 with spaces", "tests/unit", "test_sizes.py"),
        ("包-é", "..", "包-é/tests/unit/test_sizes.py"),
        ("nodes", "..", "of-custom-nodes/tests/unit/test_sizes.py"),
        pytest.param("main", ".", "tests/unit/test_sizes.py", marks=pytest.mark.slow),
    ],
)
def test_tests_pass_in_a_folder_of_any_name(copy: Path, tmp_path: Path, name: str, folder: str, argument: str) -> None:
    """From the repository's root, from within, from outside and by a link."""
    clone = shutil.copytree(copy, tmp_path / name, copy_function=os.link)
    (tmp_path / "of-custom-nodes").symlink_to(clone, target_is_directory=True)
    environment = {**os.environ, "COMFYUI_PATH": str(default_comfyui().absolute())}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", argument]
    done = subprocess.run(command, cwd=clone / folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr  # 5 if there were none


def test_pytest_does_not_import_the_pack(root: Path) -> None:
    """ComfyUI's own loader does, under its name for it."""
    files = {name: getattr(module, "__file__", None) for name, module in list(sys.modules.items())}
    names = [name for name, file in files.items() if file == str(root / "__init__.py")]
    assert set(names) <= {str(root).replace(".", "_x_")}


# ---- .ci/run ---------------------------------------------------------------------------------------------------------

COMMANDS = """import pathlib, sys
here = pathlib.Path.cwd()
print(here.name, (here / "state").read_text(), *sys.argv[1:])
(here / "made").touch()
sys.exit(sys.argv[1] in {failing!r})
"""


@pytest.fixture
def checkout(root: Path, tmp_path: Path) -> Path:
    """A repository of .ci/run and a dev.py that tells how it was called, whose second and last commit is `new`."""
    folder = tmp_path / "work" / "of another name"
    shutil.copytree(root / ".ci", folder / ".ci")
    run(["git", "init", "-q", "-b", "trunk"], folder)
    for state in ("old", "new"):
        (folder / "state").write_text(state)
        commit(folder)
    return folder


def commit(folder: Path, failing: tuple[str, ...] = ()) -> None:
    (folder / "dev.py").write_text(COMMANDS.format(failing=failing))
    run(["git", "add", "-A"], folder)
    run(["git", "-c", "user.name=A", "-c", "user.email=a@b.c", "commit", "-q", "-m", "A commit"], folder)


def ci(folder: Path, place: Path) -> tuple[int, list[str]]:
    """The status and the lines of .ci/run, which leaves nothing in its place for temporary folders."""
    place.mkdir(exist_ok=True)
    command, environment = [folder / ".ci" / "run"], {**os.environ, "TMPDIR": str(place)}
    done = subprocess.run(command, cwd=place.parent, env=environment, capture_output=True, text=True)
    assert not list(place.iterdir()) and not (folder / "made").exists()
    return done.returncode, done.stdout.splitlines()


RAN = ["ComfyUI-Qwen2VL-Flux new lint", "ComfyUI-Qwen2VL-Flux new test"]


@pytest.mark.parametrize("kind", ["a checkout", "detached", "shallow", "another worktree", "with changes"])
def test_ci_runs_in_a_clone_of_the_readmes_name(checkout: Path, tmp_path: Path, kind: str) -> None:
    """What is not committed yet is not there; how the commit has been checked out does not matter."""
    folder = checkout.with_name("folder")
    if kind == "another worktree":
        run(["git", "worktree", "add", "-q", "--detach", folder], checkout)
        run(["git", "checkout", "-q", "-b", "behind", "HEAD~"], checkout)
    elif kind == "shallow":
        run(["git", "clone", "-q", "--depth=1", checkout.as_uri(), folder], tmp_path)
    else:
        folder = checkout
    if kind == "detached":
        run(["git", "checkout", "-q", "--detach"], folder)
        run(["git", "branch", "-q", "--force", "trunk", "HEAD~"], folder)
    if kind == "with changes":
        (folder / "state").write_text("changed")
    assert ci(folder, tmp_path / "place") == (0, RAN)


@pytest.mark.parametrize("failing", [("lint",), ("test",), ("lint", "test")])
def test_ci_fails_when_one_of_both_fails(checkout: Path, tmp_path: Path, failing: tuple[str, ...]) -> None:
    commit(checkout, failing)
    assert ci(checkout, tmp_path / "place") == (1, RAN)
