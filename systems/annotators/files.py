"""Where an annotator's weights lie: ComfyUI's model folders, as other packs fill them, and the published layout."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import folder_paths

from ..common.comfy.folders import component_folders, is_of_demo, register_folder, walk
from ..common.errors import CheckpointError, quoted

EXTENSIONS = (".safetensors", ".pth", ".pt")


@dataclass(frozen=True)
class AnnotatorFiles:
    """The weight files of one annotator.

    folder: under models/; published: subfolder of a checkpoint; example: a file name people know;
    has_folders: whether weights also come in the layout of Hugging Face, as folders with a config.json.
    """

    folder: str
    published: str
    example: str
    has_folders: bool

    def register(self) -> None:
        """Tell ComfyUI about the folder, beside whatever other packs and extra_model_paths.yaml added."""
        register_folder(self.folder, EXTENSIONS)

    def names(self) -> list[str]:
        """The names of what the annotator can be loaded from, sorted, with those of `demo` last."""
        return sorted(self._found(), key=lambda name: (is_of_demo(name), name.lower()))

    def path(self, name: str) -> Path:
        """The file or folder of a listed name; CheckpointError for another."""
        found = self._found()
        if name not in found:
            place = folder_paths.get_folder_paths(self.folder)[0]
            raise CheckpointError(
                f"There is no {quoted(name)} for this loader; put a file such as {self.example} into {place}."
            )
        return found[name]

    def _found(self) -> dict[str, Path]:
        found: dict[str, Path] = {}
        for root in folder_paths.get_folder_paths(self.folder):
            found = {**self._below(Path(root), ""), **found}
        for name, folder in component_folders(self.published).items():
            found.update(self._below(folder, f"{name}/"))
        return found

    def _below(self, root: Path, prefix: str) -> dict[str, Path]:
        """Weight files anywhere below a folder; folders with a config.json under their own names."""
        found: dict[str, Path] = {}
        for folder, folders, files in walk(root):
            if self.has_folders and folder != root and "config.json" in files:
                found[prefix + folder.relative_to(root).as_posix()] = folder
                folders.clear()
                continue
            for name in files:
                if name.lower().endswith(EXTENSIONS):
                    found[prefix + (folder / name).relative_to(root).as_posix()] = folder / name
        return found
