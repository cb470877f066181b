"""Checkpoint folders: models/qwen2vl_flux/<name>, CHECKPOINT_DIR, extra_model_paths.yaml and the pack's own demo."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import folder_paths

from ..errors import CheckpointError, plain, quoted

FOLDER_NAME = "qwen2vl_flux"
DEMO = Path(__file__).parents[3] / "demo"
COMPONENTS = ("qwen2-vl", "flux")
EXTENSIONS = (".safetensors", ".pt")


def register() -> None:
    """Tell ComfyUI about models/qwen2vl_flux, beside whatever extra_model_paths.yaml already added under that key."""
    paths, _ = folder_paths.folder_names_and_paths.get(FOLDER_NAME, ([], set()))
    own = os.path.join(folder_paths.models_dir, FOLDER_NAME)
    paths = paths if own in paths else [*paths, own]
    folder_paths.folder_names_and_paths[FOLDER_NAME] = (paths, set(EXTENSIONS))
    named = os.environ.get("CHECKPOINT_DIR")
    if named and not any(_is_checkpoint(folder) for folder in (Path(named), *_subfolders(Path(named)))):
        logging.warning("CHECKPOINT_DIR=%s holds no checkpoint: no folder with qwen2-vl or flux in it.", plain(named))


def list_checkpoints() -> list[str]:
    """Names of all checkpoint folders, sorted, with the pack's own small `demo` last."""
    return list(checkpoint_folders())


def is_of_demo(name: str) -> bool:
    """Whether a name lists a part of the pack's own `demo`; such come last, as they know nothing but its scenes."""
    return name.startswith(f"{DEMO.name}/")


def checkpoint_folder(name: str) -> Path:
    """The folder of a listed checkpoint."""
    found = checkpoint_folders()
    if name not in found:
        places = ", ".join(folder_paths.get_folder_paths(FOLDER_NAME))
        raise CheckpointError(
            f"There is no checkpoint folder {quoted(name)}; put one with the subfolders qwen2-vl and flux into "
            f"{places}, or point CHECKPOINT_DIR to it."
        )
    return found[name]


def checkpoint_folders() -> dict[str, Path]:
    """All checkpoint folders by name, sorted, with the pack's own small `demo` last."""
    roots = [Path(root) for root in folder_paths.get_folder_paths(FOLDER_NAME)]
    own = os.environ.get("CHECKPOINT_DIR")
    if own:
        roots.insert(0, Path(own))
    folders = [folder for root in roots for folder in (root, *_subfolders(root)) if _is_checkpoint(folder)]
    found: dict[str, Path] = {}
    for folder in [*folders, DEMO]:
        found.setdefault(folder.resolve().name if folder.name in ("", ".", "..") else folder.name, folder)
    return dict(sorted(found.items(), key=lambda entry: (entry[0] == DEMO.name, entry[0].lower())))


def walk(root: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    """What os.walk gives, through links too, with each real folder entered once: under its own name where it has one
    below `root`, else under that of a link."""
    entered: set[str] = set()
    waiting = [str(root)]
    while waiting:
        for place, folders, files in os.walk(waiting.pop(0)):
            real = os.path.realpath(place)
            if real in entered:
                folders.clear()
                continue
            entered.add(real)
            yield Path(place), folders, files
            below = [os.path.join(place, name) for name in folders]
            waiting += [path for path in below if os.path.realpath(path) != os.path.join(real, os.path.basename(path))]


def _subfolders(root: Path) -> list[Path]:
    try:
        return sorted(entry for entry in root.iterdir() if os.path.isdir(entry))
    except OSError:
        return []


def _is_checkpoint(folder: Path) -> bool:
    return any(os.path.isdir(folder / component) for component in COMPONENTS)
