"""The pack as it would be published: the working tree as a repository of its own, and what comfy-cli packs of it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path


def run(command: list[str | Path], folder: Path) -> subprocess.CompletedProcess[str]:
    """A program that must succeed, without comfy-cli's reports."""
    environment = {**os.environ, "DO_NOT_TRACK": "1"}
    done = subprocess.run([str(part) for part in command], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done


def working_tree(root: Path, target: Path) -> Path:
    """The tracked and the new files of the working tree, as a repository of their own."""
    listed = run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], root).stdout
    for name in filter(None, listed.split("\0")):
        if (root / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / name, target / name)
    run(["git", "init", "-q"], target)
    run(["git", "add", "-A"], target)
    return target


def packed_zip(copy: Path, tools: Path) -> Path:
    """The archive that the Registry would get of such a repository."""
    run([tools / "comfy", "--skip-prompt", "node", "pack"], copy)
    (archive,) = copy.glob("*.zip")
    return archive
