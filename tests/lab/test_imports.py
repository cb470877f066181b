"""Who imports what in lab/, and who imports lab/."""

from __future__ import annotations

from module_imports import imports_of

# The folders of lab/ that each one may import beside itself.
BELOW = {"world": set(), "demo": {"world"}, "benchmark": {"world"}, "thumbnails": {"world"}}
# The modules of lab/ itself, which every folder may import.
SHARED = {"image_server", "process_memory"}


def test_folders_import_the_world_alone(root):
    for module, names in imports_of(root, "lab").items():
        folder = ".".join(module.split(".")[1:2])
        allowed = SHARED | ({folder, *BELOW[folder]} if folder in BELOW else set())
        assert {name.split(".")[1] for name in names if name.startswith("lab.")} <= allowed, module
        assert not {name.split(".")[0] for name in names} & {"nodes", "tests", "benchmarks", "train", "dev"}, module


def test_nobody_depends_on_the_lab(root):
    for package in ("systems", "client", "training", "nodes"):
        for module, names in imports_of(root, package).items():
            assert not any(name.split(".")[0] == "lab" for name in names), module
