"""Model folders of ComfyUI, and checkpoints in them that are folders of components."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import folder_paths

from ..errors import CheckpointError, plain, quoted
from ..layout import DEMO, holds_component


def register_folder(name: str, extensions: Collection[str]) -> None:
    """Tell ComfyUI about models/<name>, beside whatever other packs and extra_model_paths.yaml added under that key."""
    paths, known = folder_paths.folder_names_and_paths.get(name, ([], set()))
    own = os.path.join(folder_paths.models_dir, name)
    paths = paths if own in paths else [*paths, own]
    folder_paths.folder_names_and_paths[name] = (paths, {*known, *extensions})


@dataclass(frozen=True)
class CheckpointFolders:
    """Checkpoints that are folders with the subfolders `components`, of which one is enough, in models/<name>.

    variable: an environment variable that names one more checkpoint, or a folder of such.
    """

    name: str
    components: tuple[str, ...]
    variable: str

    def register(self) -> None:
        """Make ComfyUI know the folder, and the loaders of single components look into its checkpoints."""
        register_folder(self.name, (".safetensors", ".pt"))
        _REGISTERED[self.name] = self
        named = os.environ.get(self.variable)
        if named and not any(
            holds_component(folder, self.components) for folder in (Path(named), *_subfolders(Path(named)))
        ):
            logging.warning(
                "%s=%s holds no checkpoint: no folder with %s in it.",
                self.variable,
                plain(named),
                " or ".join(self.components),
            )

    def found(self) -> dict[str, Path]:
        """All checkpoints by name, sorted, with DEMO last, as it knows nothing but its scenes."""
        roots = [Path(root) for root in folder_paths.get_folder_paths(self.name)]
        own = os.environ.get(self.variable)
        if own:
            roots.insert(0, Path(own))
        places = [folder for root in roots for folder in (root, *_subfolders(root))]
        folders = [folder for folder in places if holds_component(folder, self.components)]
        found: dict[str, Path] = {}
        for folder in [*folders, DEMO]:
            found.setdefault(folder.resolve().name if folder.name in ("", ".", "..") else folder.name, folder)
        return dict(sorted(found.items(), key=lambda entry: (entry[0] == DEMO.name, entry[0].lower())))

    def names(self) -> list[str]:
        """The names of all checkpoints, sorted, with that of DEMO last."""
        return list(self.found())

    def folder(self, name: str) -> Path:
        """The folder of a listed checkpoint; CheckpointError for another name."""
        found = self.found()
        if name not in found:
            places = ", ".join(folder_paths.get_folder_paths(self.name))
            raise CheckpointError(
                f"There is no checkpoint folder {quoted(name)}; put one with the subfolders "
                f"{' and '.join(self.components)} into {places}, or point {self.variable} to it."
            )
        return found[name]


_REGISTERED: dict[str, CheckpointFolders] = {}


def component_folders(component: str) -> dict[str, Path]:
    """`<checkpoint>/<component>` with its folder, which need not be there, for every checkpoint of the pack; of two by
    one name the one that was registered first."""
    found: dict[str, Path] = {}
    for folders in _REGISTERED.values():
        for name, folder in folders.found().items():
            found.setdefault(f"{name}/{component}", folder / component)
    return found


def is_of_demo(name: str) -> bool:
    """Whether a name lists a component of DEMO."""
    return name.startswith(f"{DEMO.name}/")


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
