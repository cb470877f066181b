"""Whose node an id stands for in a running ComfyUI."""

from __future__ import annotations

from pathlib import Path


def test_every_id_of_the_pack_is_the_packs(server, client, root: Path) -> None:
    """ComfyUI leaves out a node whose id is one of its own."""
    info = client.object_info()
    pages = [page.stem for page in (root / "web" / "docs").glob("*.md")]
    assert pages
    assert {info[node_id]["python_module"] for node_id in pages} == {"custom_nodes.ComfyUI-Qwen2VL-Flux"}
