"""ControlNet folders that cannot be used: each is named before any of its weights is read."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import folder_paths
import pytest
import torch
from control_weights import write_union
from safetensors.torch import load_file, save_file
from sentences import one_sentence

from systems.common.errors import CheckpointError
from systems.flux_union.checkpoint import (
    STEM,
    controlnet_folder,
    controlnet_shapes,
    list_controlnets,
    load_controlnet,
)

MODES = "controlnet_mode_embedder.weight"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_union(tmp_path / "union")


def config(**changes: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "config.json"
        entries = {**json.loads(path.read_text()), **changes}
        path.write_text(json.dumps({name: value for name, value in entries.items() if value is not ...}))

    return change


def text(name: str, content: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text(content)


def gone(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def tensors(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def rewrite(folder: Path) -> None:
        state = load_file(folder / f"{STEM}.safetensors")
        change(state)
        save_file(state, folder / f"{STEM}.safetensors")

    return rewrite


def cut(folder: Path) -> None:
    path = folder / f"{STEM}.safetensors"
    path.write_bytes(path.read_bytes()[:200_000])


def shards_without_one(folder: Path) -> None:
    (folder / f"{STEM}.safetensors").unlink()
    write_union(folder, shards=3)
    (folder / f"{STEM}-00002-of-00003.safetensors").unlink()


def shards_without_index(folder: Path) -> None:
    (folder / f"{STEM}.safetensors").unlink()
    write_union(folder, shards=2)
    (folder / f"{STEM}.safetensors.index.json").unlink()


WEIGHTS = f"{STEM}.safetensors"
BAD = {
    "no config": (gone("config.json"), "config.json is missing"),
    "config is no JSON": (text("config.json", "{"), "is not a JSON file"),
    "config is a list": (text("config.json", "[]"), "holds no JSON object"),
    "a transformer": (config(_class_name="FluxTransformer2DModel"), "not a FluxControlNetModel"),
    "an SD3 ControlNet": (config(_class_name="SD3ControlNetModel"), "'SD3ControlNetModel', not a FluxControlNetModel"),
    "no class": (config(_class_name=...), "None, not a FluxControlNetModel"),
    "no layers": (config(num_layers=...), "has no entry num_layers"),
    "layers of text": (config(num_layers="one"), "num_layers 'one', not a whole number"),
    "half a layer": (config(num_layers=1.5), "num_layers 1.5, not a whole number"),
    "too many layers": (config(num_layers=10**9), "not a whole number from 1 to"),
    "too many single layers": (config(num_single_layers=10**9), "not a whole number from 0 to"),
    "less than no single layer": (config(num_single_layers=-1), "num_single_layers -1, not a whole number"),
    "modes of text": (config(num_mode="ten"), "num_mode 'ten', not a whole number"),
    "no modes at all": (config(num_mode=0), "num_mode 0, not a whole number"),
    "modes are true": (config(num_mode=True), "num_mode True, not a whole number"),
    "negative heads": (config(num_attention_heads=-2), "num_attention_heads -2"),
    "axes that do not fit": (config(axes_dims_rope=[16, 56, 57]), "axes_dims_rope"),
    "extra channels of text": (config(extra_condition_channels="4x"), "extra_condition_channels '4x'"),
    "extra channels below 0": (config(extra_condition_channels=-4), "extra_condition_channels -4"),
    "another width": (config(num_attention_heads=2), "config.json calls for"),
    "another depth": (config(num_layers=2), "lacks transformer_blocks.1."),
    "other modes": (config(num_mode=7), f"{MODES} as [10, 128] where union/config.json calls for [7, 128]"),
    "no union": (config(num_mode=None), f"holds {MODES}, which union/config.json does not know"),
    "no weights": (gone(WEIGHTS), "has neither"),
    "empty weights": (text(WEIGHTS, ""), "is empty"),
    "a web page": (text(WEIGHTS, "<!DOCTYPE html><html>"), "is a web page, not weights"),
    "a pointer": (text(WEIGHTS, "version https://git-lfs.github.com/spec/v1\noid sha256:1"), "is a Git LFS pointer"),
    "something else": (text(WEIGHTS, "weights, honestly"), "is not a safetensors file"),
    "cut short": (cut, "is cut short or damaged"),
    "a tensor missing": (tensors(lambda state: state.pop(MODES)), f"lacks {MODES}"),
    "a tensor too many": (
        tensors(lambda state: state.update({"input_hint_block.0.weight": torch.zeros(1)})),
        "holds input_hint_block.0.weight, which union/config.json does not know",
    ),
    "a tensor misshapen": (
        tensors(lambda state: state.update({"controlnet_blocks.0.bias": torch.zeros(64)})),
        "controlnet_blocks.0.bias as [64]",
    ),
    "whole numbers": (
        tensors(lambda state: state.update({"controlnet_blocks.0.bias": state["controlnet_blocks.0.bias"].long()})),
        "holds controlnet_blocks.0.bias as I64, not as floating-point numbers",
    ),
    "true and false": (
        tensors(lambda state: state.update({name: value.bool() for name, value in state.items()})),
        "as BOOL, not as floating-point numbers",
    ),
    "layers of 400 digits": (config(num_layers=10**400), "num_layers 10000"),
    "extra channels of 400 digits": (config(extra_condition_channels=10**400), "extra_condition_channels 10000"),
    "a class of a million letters": (config(_class_name="x" * 10**6), "describes a 'xxx"),
    "a shard missing": (shards_without_one, "lacks 1 of 3 shards"),
    "no index": (shards_without_index, "has shards"),
}


@pytest.mark.parametrize("spoil, words", BAD.values(), ids=BAD)
def test_a_folder_that_cannot_be_used(folder, spoil, words):
    spoil(folder)
    with pytest.raises(CheckpointError) as raised:
        load_controlnet(folder)
    assert words in one_sentence(raised.value), str(raised.value)


def test_a_union_of_double_blocks_alone(tmp_path):
    """As Shakker-Labs' FLUX.1-dev-ControlNet-Union-Pro-2.0 is made."""
    controlnet = load_controlnet(write_union(tmp_path / "pro", num_single_layers=0))
    assert (len(controlnet.control_model.double_blocks), len(controlnet.control_model.single_blocks)) == (1, 0)


def test_no_folder(tmp_path):
    with pytest.raises(CheckpointError, match="is missing; download that folder"):
        load_controlnet(tmp_path / "nowhere")


def test_the_published_union_has_its_parameters(tmp_path):
    """InstantX FLUX.1-dev-Controlnet-Union: 5 double and 10 single blocks of FLUX.1's width, 10 modes."""
    sizes = {"num_layers": 5, "num_single_layers": 10, "num_attention_heads": 24}
    sizes |= {"joint_attention_dim": 4096, "pooled_projection_dim": 768}
    folder = tmp_path / "published"
    folder.mkdir()
    write_config = json.loads(
        (Path(__file__).parent.parent / "data/qwen2vl_flux/ckpt/controlnet/config.json").read_text()
    )
    (folder / "config.json").write_text(json.dumps(write_config | sizes))
    shapes = controlnet_shapes(folder / "config.json")
    assert sum(math.prod(shape) for shape in shapes.values()) == 3_301_956_608  # 6.6 GB in bfloat16
    assert shapes[MODES] == (10, 3072) and shapes["controlnet_x_embedder.weight"] == (3072, 64)


def test_the_list_names_flux_controlnets_at_any_depth(tmp_path, monkeypatch):
    """Those of other models are left out, and what cannot be read is listed, so that loading it says why."""
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "qwen2vl_flux", ([str(tmp_path / "checkpoints")], set()))
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "controlnet", ([str(tmp_path / "nets")], set()))
    write_union(tmp_path / "checkpoints" / "mine" / "controlnet")
    (tmp_path / "checkpoints" / "mine" / "flux").mkdir()
    write_union(tmp_path / "nets" / "InstantX" / "union")
    for name, text in (("sdxl", '{"_class_name": "ControlNetModel"}'), ("broken", "{")):
        (tmp_path / "nets" / name).mkdir()
        (tmp_path / "nets" / name / "config.json").write_text(text)
    assert list_controlnets() == ["mine/controlnet", "InstantX/union", "broken", "demo/controlnet"]
    assert controlnet_folder("InstantX/union") == tmp_path / "nets" / "InstantX" / "union"
    with pytest.raises(CheckpointError, match="There is no ControlNet folder 'sdxl'; put one with config.json into"):
        controlnet_folder("sdxl")
