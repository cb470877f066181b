"""Where the annotators' weights lie: ComfyUI's model folders, as other packs fill them, and the published layout."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import folder_paths

from ..common.comfy.folders import component_folders, is_of_demo, register_folder, walk
from ..common.errors import CheckpointError, quoted

EXTENSIONS = (".safetensors", ".pth", ".pt")


@dataclass(frozen=True)
class Kind:
    """folder: under models/; published: subfolder of a checkpoint; example: a file name people know;
    has_folders: whether weights also come in the layout of Hugging Face."""

    folder: str
    published: str
    example: str
    has_folders: bool


KINDS = {
    "depth": Kind("depthanything", "depth-anything-v2", "depth_anything_v2_vitl.pth", has_folders=True),
    "line": Kind("anyline", "anyline", "MTEED.pth", has_folders=False),
    "sam2": Kind("sam2", "segment-anything-2", "sam2_hiera_large.pt", has_folders=True),
}


def register() -> None:
    """Tell ComfyUI about the annotators' folders, beside whatever other packs and extra_model_paths.yaml added."""
    for kind in KINDS.values():
        register_folder(kind.folder, EXTENSIONS)


def list_files(kind: str) -> list[str]:
    """Names of the weight files, and for some kinds of folders with a config.json, that an annotator can be loaded
    from; sorted, with those of `demo` last."""
    return sorted(_found(KINDS[kind]), key=lambda name: (is_of_demo(name), name.lower()))


def annotator_file(kind: str, name: str) -> Path:
    """The file or folder of a listed name."""
    found = _found(KINDS[kind])
    if name not in found:
        place = folder_paths.get_folder_paths(KINDS[kind].folder)[0]
        raise CheckpointError(
            f"There is no {quoted(name)} for this loader; put a file such as {KINDS[kind].example} into {place}."
        )
    return found[name]


def _found(kind: Kind) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for root in folder_paths.get_folder_paths(kind.folder):
        found = {**_weights(kind, Path(root), ""), **found}
    for name, folder in component_folders(kind.published).items():
        found.update(_weights(kind, folder, f"{name}/"))
    return found


def _weights(kind: Kind, root: Path, prefix: str) -> dict[str, Path]:
    """Weight files anywhere below a folder, and its folders in the layout of Hugging Face under their own names, where
    the kind has such."""
    found: dict[str, Path] = {}
    for folder, folders, files in walk(root):
        if kind.has_folders and folder != root and "config.json" in files:
            found[prefix + folder.relative_to(root).as_posix()] = folder
            folders.clear()
            continue
        for name in files:
            if name.lower().endswith(EXTENSIONS):
                found[prefix + (folder / name).relative_to(root).as_posix()] = folder / name
    return found
