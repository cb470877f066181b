"""Depth Anything V2 and AnyLine files: every way of storing them, and every file or picture that is not one."""

from __future__ import annotations

import json
import pickle

import folder_paths
import pytest
import torch
from annotator_weights import (
    depth_shapes,
    mteed_shapes,
    random_tensors,
    write_depth,
    write_depth_folder,
    write_mteed,
)
from safetensors.torch import load_file, save_file
from sentences import one_sentence

from systems.annotators.anyline.annotator import FILES as ANYLINE
from systems.annotators.anyline.annotator import load_anyline
from systems.annotators.depth_anything.annotator import FILES as DEPTH_ANYTHING
from systems.annotators.depth_anything.annotator import load_depth_anything
from systems.annotators.depth_anything.checkpoint import VARIANTS, Variant
from systems.annotators.sam2.annotator import FILES as SAM2
from systems.annotators.sizes import reading_size
from systems.common.errors import CheckpointError, InputError
from systems.qwen2vl_flux.folders import CHECKPOINTS

PATCHES = "pretrained.patch_embed.proj.weight"
# The parameters as the authors give them: 24.8, 97.5 and 335.3 million.
PARAMETERS = {"vits": 24_785_089, "vitb": 97_470_785, "vitl": 335_315_649}


def hollow(shapes: dict) -> dict[str, torch.Tensor]:
    """Tensors of zeros that take no space in a .pth file."""
    return {name: torch.zeros(()).expand(shape) for name, shape in shapes.items()}


def saved(path, state: object):
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(state, path)
    return path


def written(path, content: bytes | str):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


# ---- what can be read ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
@pytest.mark.parametrize("name", ["depth_anything_v2_vits.pth", "any name at all.pt"])
def test_variants_are_seen_from_the_tensors(tmp_path, variant, name):
    shapes = depth_shapes(variant.name)
    assert sum(torch.Size(shape).numel() for shape in shapes.values()) == PARAMETERS[variant.name]
    model = load_depth_anything(saved(tmp_path / name, hollow(shapes)))
    assert model.variant == variant and model.name == name


def test_mteed_has_58910_weights():
    assert sum(torch.Size(shape).numel() for shape in mteed_shapes().values()) == 58_910


NOISE = torch.rand(1, 60, 70, 3, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def exact(tmp_path_factory) -> torch.Tensor:
    """The map of NOISE by the file of the authors."""
    model = load_depth_anything(write_depth(tmp_path_factory.mktemp("depth") / "depth_anything_v2_vits.pth"))
    with torch.inference_mode():
        return model.depth(NOISE)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_safetensors_of_any_precision(tmp_path, exact, dtype):
    """As other packs place them: kept as stored, computed in float32."""
    model = load_depth_anything(write_depth(tmp_path / "depth_anything_v2_vits_fp16.safetensors", dtype=dtype))
    assert {value.dtype for value in model.network.state_dict().values()} == {dtype}
    with torch.inference_mode():
        error = (model.depth(NOISE) - exact).abs().max()
    assert error <= {torch.float32: 0, torch.float16: 0.02, torch.bfloat16: 0.2}[dtype]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_folder_of_any_sizes(tmp_path, dtype):
    """Chosen as a folder, or by the file in it; kept as stored."""
    folder = write_depth_folder(tmp_path / "small", dtype)
    model, other = load_depth_anything(folder), load_depth_anything(folder / "model.safetensors")
    assert model.variant == Variant("vit48x5", 48, 5, 3, (0, 1, 2, 4), (12, 16, 24, 32), 16, 24, 8) == other.variant
    state = model.network.state_dict()
    assert {value.dtype for value in state.values()} == {dtype}
    assert all(torch.equal(value, other.network.state_dict()[name]) for name, value in state.items())


def test_a_config_may_leave_out_what_was_published(tmp_path):
    """As the folders of the three published models do."""
    written(tmp_path / "config.json", json.dumps(config()))
    state = {name: torch.zeros(shape, dtype=torch.float16) for name, shape in SMALL.items()}
    save_file(state, tmp_path / "model.safetensors")
    assert load_depth_anything(tmp_path).variant == VARIANTS[0]


@pytest.mark.parametrize("nest", [None, "model", "state_dict"])
def test_nested_weights(tmp_path, nest):
    depth, lines = hollow(depth_shapes("vits")), hollow(mteed_shapes())
    load_depth_anything(saved(tmp_path / "depth.pth", {nest: depth} if nest else depth))
    load_anyline(saved(tmp_path / "lines.pth", {nest: lines} if nest else lines))


def test_lines_from_safetensors_are_the_same(tmp_path):
    original = load_anyline(write_mteed(tmp_path / "MTEED.pth")).network.state_dict()
    other = load_anyline(write_mteed(tmp_path / "MTEED.safetensors")).network.state_dict()
    assert all(torch.equal(value, other[name]) for name, value in original.items())


@pytest.mark.parametrize("files", [DEPTH_ANYTHING, ANYLINE, SAM2], ids=lambda files: files.folder)
def test_folders_are_listed_where_they_load(tmp_path, monkeypatch, files):
    """A folder in the layout of Hugging Face is one entry for depth and SAM 2; AnyLine is always a file."""
    for folder, places in ((files.folder, [str(tmp_path)]), (CHECKPOINTS.name, [])):
        monkeypatch.setitem(folder_paths.folder_names_and_paths, folder, (places, set()))
    monkeypatch.delenv("CHECKPOINT_DIR", raising=False)
    written(tmp_path / "hf" / "config.json", "{}")
    written(tmp_path / "hf" / "model.safetensors", b"")
    written(tmp_path / "sub" / "plain.pth", b"")
    listed = [name for name in files.names() if name.startswith(("hf", "sub"))]
    assert listed == (["hf", "sub/plain.pth"] if files.has_folders else ["hf/model.safetensors", "sub/plain.pth"])
    assert all(files.path(name) == tmp_path / name for name in listed)


# ---- what cannot -----------------------------------------------------------------------------------------------------


class RunsCode:
    def __reduce__(self):
        return print, ("pickled code ran",)


def changed(path, shapes: dict, **changes):
    """A file with tensors replaced by name, or taken out (None)."""
    state = {**hollow(shapes), **changes}
    return saved(path, {name: value for name, value in state.items() if value is not None})


COMMON = {
    "missing": (lambda f: f / "gone.pth", "is missing; download it"),
    "empty": (lambda f: written(f / "a.pth", b""), "is empty"),
    "web page": (lambda f: written(f / "a.pth", "<!DOCTYPE html><html>"), "is a web page"),
    "pointer": (lambda f: written(f / "a.safetensors", "version https://git-lfs"), "Git LFS pointer"),
    "no safetensors": (lambda f: written(f / "a.safetensors", b"\x00" * 64), "is not a safetensors file"),
    "cut short": (lambda f: written(f / "a.pth", saved(f / "b.pth", {"a": torch.ones(9)}).read_bytes()[:300]), "short"),
    "pickled code": (lambda f: written(f / "a.pth", pickle.dumps({"a": RunsCode()})), "not a file of plain tensors"),
    "a list": (lambda f: saved(f / "a.pth", [torch.ones(1)]), "something else than named tensors"),
    "a training checkpoint": (lambda f: saved(f / "a.pth", {**hollow(mteed_shapes()), "epoch": 3, "optimizer": {}}),
        "holds 'epoch' beside tensors of floating-point numbers; use the published file of plain weights."),
    "nothing in it": (lambda f: saved(f / "a.pth", {}), "holds no tensors"),
    "a diffusion model": (
        lambda f: saved(f / "a.pth", {"double_blocks.0.img_attn.qkv.weight": torch.ones(1)}),
        "a diffusion model",
    ),
    "something else": (lambda f: saved(f / "a.pth", {"linear.weight": torch.ones(1)}), "another model (with 'linear.w"),
}  # fmt: skip

SMALL = depth_shapes("vits")


def published(folder, config: dict, state: dict | None = None):
    written(folder / "config.json", json.dumps(config))
    save_file(
        {"backbone.embeddings.cls_token": torch.zeros(1, 1, 384)} if state is None else state,
        folder / "model.safetensors",
    )
    return folder


SEPARATE = [f"backbone.encoder.layer.0.attention.attention.{part}.weight" for part in ("query", "key", "value")]
MIXED = (torch.float8_e4m3fn, torch.float32, torch.float8_e5m2)
HALVES = {
    "backbone.embeddings.patch_embeddings.projection.weight": torch.ones(384, 3, 14, 14),
    "head.conv1.bias": torch.ones(32),
}


def index_of(folder, names: dict[str, str]):
    written(folder / "config.json", json.dumps(config()))
    written(folder / "model.safetensors.index.json", json.dumps({"weight_map": names}))
    return folder


def whole_numbers(folder):
    state = {name: value.long() for name, value in load_file(folder / "model.safetensors").items()}
    save_file(state, folder / "model.safetensors")
    return folder


def config(**backbone) -> dict:
    backbone = {"hidden_size": 384, "out_indices": [3, 6, 9, 12], **backbone}
    return {"model_type": "depth_anything", "backbone_config": backbone}


def described(folder, model: dict | None = None, **backbone):
    """A folder of small sizes whose config.json says something else."""
    path = write_depth_folder(folder) / "config.json"
    said = json.loads(path.read_text())
    said["backbone_config"] |= backbone
    written(path, json.dumps(said | (model or {})))
    return folder


DEPTH = {
    "a tensor is missing": (lambda f: changed(f / "a.pth", SMALL, **{"pretrained.norm.bias": None}), "lacks pretr"),
    "half of it": (lambda f: saved(f / "a.pth", hollow(dict(list(SMALL.items())[100:]) | {PATCHES: SMALL[PATCHES]})),
        "more tensors, which Depth Anything V2 vits calls for"),
    "one too many": (lambda f: changed(f / "a.pth", SMALL, **{"depth_head.extra": torch.ones(1)}), "does not know"),
    "another shape": (lambda f: changed(f / "a.pth", SMALL, **{"pretrained.pos_embed": torch.ones(1, 257, 384)}),
        "as [1, 257, 384] where Depth Anything V2 vits calls for [1, 1370, 384]"),
    "whole numbers": (lambda f: (save_file({**random_tensors(SMALL), "pretrained.cls_token": torch.ones(
        1, 1, 384, dtype=torch.int8)}, f / "a.safetensors"), f / "a.safetensors")[1], "as int8"),
    "a depth of vitl": (lambda f: changed(f / "a.pth", SMALL, **{"pretrained.blocks.12.norm1.weight": torch.ones(384)}),
        "pretrained.blocks.12.norm1.weight, which Depth Anything V2 vits does not know"),
    "giant": (lambda f: changed(f / "a.pth", SMALL, **{PATCHES: torch.ones(1536, 3, 14, 14)}), "384 (vits), 768"),
    "a scalar": (lambda f: changed(f / "a.pth", SMALL, **{PATCHES: torch.ones(())}), "384 (vits), 768 (vitb)"),
    "metric": (lambda f: saved(f / "depth_anything_v2_metric_hypersim_vits.pth", hollow(SMALL)), "is a metric model"),
    "V1": (lambda f: saved(f / "depth_anything_vits14.pth", hollow(SMALL)), "is a Depth Anything V1 model"),
    "V3": (lambda f: saved(f / "a.pth", {"model.backbone.pretrained.cls_token": torch.ones(1)}), "Depth Anything V3"),
    "video": (lambda f: saved(f / "a.pth", {"head.motion_modules.0.weight": torch.ones(1)}), "Video Depth Anything"),
    "MiDaS": (lambda f: saved(f / "a.pth", {"pretrained.model.cls_token": torch.ones(1)}), "a MiDaS or ZoeDepth"),
    "SAM": (lambda f: saved(f / "a.pth", {"image_encoder.trunk.pos_embed": torch.ones(1)}), "a Segment Anything model"),
    "DINOv2": (lambda f: saved(f / "a.pth", {"patch_embed.proj.weight": torch.ones(1)}), "without a depth head"),
    "a file without its folder": (lambda f: saved(f / "model.pth", {
        "backbone.embeddings.cls_token": torch.ones(1)}), "whose config.json tells Depth Anything V2 from V1"),
    "folder of no tensors": (lambda f: published(f / "m", config(), {}), "holds no tensors, not Depth"),
    "folder of scalars": (lambda f: published(f / "m", config(), {
        name: torch.ones(()) for name in SEPARATE}), "holds a vision backbone without a depth head, not Depth"),
    "a model of scalars": (lambda f: published(f / "m", config(), {**HALVES, **{
        name: torch.ones(()) for name in SEPARATE}}), "lacks pretrained.cls_token and"),
    "queries of another shape": (lambda f: published(f / "m", config(), {**HALVES, **{
        name: torch.ones(4, 4 + number) for number, name in enumerate(SEPARATE)}}), "lacks pretrained.cls_token and"),
    "queries of another kind": (lambda f: published(f / "m", config(), {**HALVES, **{
        name: torch.ones(4).to(kind) for name, kind in zip(SEPARATE, MIXED, strict=True)}}), "lacks pretrained.cls_"),
    "whole numbers in a folder": (lambda f: whole_numbers(write_depth_folder(f / "m")), "as int64, not as floating"),
    "folder that names a .pt": (
        lambda f: index_of(f / "m", {"a": saved(f / "m" / "a.pt", {"a": torch.ones(1)}).name}),
        "names 'a.pt', not a .safetensors file beside it",
    ),
    "folder of depths of 400 digits": (lambda f: published(f / "m", config(hidden_size=10**400)), "hidden_size 10000"),
    "folder of a neck of 400 digits": (lambda f: published(f / "m", {**config(), "neck_hidden_sizes": [10**400] * 4}),
        "neck_hidden_sizes [1000"),
    "a name of a million letters": (lambda f: saved(f / "a.pth", {"x" * 10**6: torch.ones(1)}), "(with 'xxx"),
    "unknown names without end": (lambda f: changed(f / "a.pth", SMALL, **{"depth_head." + "x" * 10**6: torch.ones(
        1)}), "holds depth_head.xxx"),
    "folder without weights": (lambda f: written(f / "m" / "config.json", "{}").parent, "has neither model.safet"),
    "folder with garbled config": (lambda f: (published(f / "m", {}), written(f / "m" / "config.json", "{"))[0],
        "is not a JSON file"),
    "folder of another model": (lambda f: published(f / "m", {"model_type": "dpt"}), "the model 'dpt', not Depth"),
    "folder without a type": (lambda f: published(f / "m", {}), "has no entry model_type"),
    "metric folder": (lambda f: published(f / "m", {**config(), "depth_estimation_type": "metric"}), "of metric depth"),
    "V1 folder": (lambda f: published(f / "m", config(out_indices=[9, 10, 11, 12])), "a Depth Anything V1 model"),
    "large V1 folder": (lambda f: published(f / "m", config(hidden_size=1024, out_indices=[21, 22, 23, 24])), "V1"),
    "folder with taps out of order": (lambda f: published(f / "m", config(out_indices=[3, 9, 6, 12])), "in their"),
    "folder with a tap too far": (lambda f: published(f / "m", config(out_indices=[3, 6, 9, 13])), "blocks 1 to 12 in"),
    "folder with three taps": (lambda f: published(f / "m", config(out_indices=[3, 6, 9])), "not a list of 4 numbers"),
    "folder without taps": (lambda f: published(f / "m", config(out_indices=None)), "backbone_config.out_indices"),
    "folder of a giant": (lambda f: published(f / "m", config(hidden_size=1536)), "backbone_config.num_hidden_la"),
    "folder of gates": (lambda f: published(f / "m", config(use_swiglu_ffn=True)), "True, not False as in every Depth"),
    "folder of another backbone": (lambda f: published(f / "m", config(model_type="beit")), "'beit', not dinov2 as in"),
    "folder of small patches": (lambda f: published(f / "m", config(patch_size=16)), "16, not 14 as in every Depth"),
    "folder with other factors": (lambda f: published(f / "m", {**config(), "reassemble_factors": [4, 2, 1, 1]}),
        "not [4, 2, 1, 0.5] as in every Depth Anything V2"),
    "folder with odd heads": (lambda f: published(f / "m", config(num_attention_heads=7)), "divides hidden_size 384"),
    "folder with an odd grid": (lambda f: published(f / "m", config(image_size=512)), "not a multiple of 14"),
    "folder with a broken neck": (lambda f: published(f / "m", {**config(), "neck_hidden_sizes": [48, 96, 192, 0.5]}),
        "not a list of 4 whole numbers"),
    "folder with a thin head": (lambda f: published(f / "m", {**config(), "fusion_hidden_size": 1}), "the head can"),
    "folder joined by another width": (lambda f: published(f / "m", {**config(), "reassemble_hidden_size": 768}),
        "768, not 384 as backbone_config.hidden_size is"),
    "folder of no width": (lambda f: published(f / "m", config(hidden_size="wide")), "not a whole number"),
    "folder with other weights": (lambda f: published(f / "m", config()), "not Depth Anything V2"),
    "config of another size": (lambda f: published(f / "m", config(hidden_size=768), {
        "backbone.embeddings.patch_embeddings.projection.weight": torch.ones(384, 3, 14, 14),
        "head.conv1.bias": torch.ones(32)}), "the vitb model, 768 wide, and model.safetensors holds one 384 wide"),
    "file of a folder of another backbone": (
        lambda f: published(f / "m", config(model_type="beit")) / "model.safetensors",
        "'beit', not dinov2",
    ),
    "folder of other depth": (lambda f: described(f / "m", num_hidden_layers=6), "lacks pretrained.blocks.5.norm1"),
    "folder of fewer blocks": (lambda f: described(f / "m", num_hidden_layers=4, out_indices=[1, 2, 3, 4]),
        "which Depth Anything V2 vit48x4 does not know"),
    "folder of another neck": (lambda f: described(f / "m", {"neck_hidden_sizes": [12, 16, 24, 40]}),
        "as [32, 48, 1, 1] where Depth Anything V2 vit48x5 calls for [40, 48, 1, 1]"),
    "folder that leaves out its depth": (lambda f: described(f / "m", num_hidden_layers=None), "_config.num_hidden_la"),
    "folder that leaves out its neck": (lambda f: described(f / "m", {"neck_hidden_sizes": None}), "no entry neck_hid"),
    "folder of another grid": (lambda f: described(f / "m", image_size=140), "as [1, 65, 48] where Depth Anything V2"),
}  # fmt: skip

LINES = {
    "a tensor is missing": (lambda f: changed(f / "a.pth", mteed_shapes(), **{"side_1.conv.bias": None}), "lacks side"),
    "one too many": (lambda f: changed(f / "a.pth", mteed_shapes(), extra=torch.ones(1)), "does not know"),
    "another shape": (lambda f: changed(f / "a.pth", mteed_shapes(), **{"side_1.conv.bias": torch.ones(9)}),
        "as [9] where AnyLine's TEED calls for [32]"),
    "whole numbers": (lambda f: (save_file({**random_tensors(mteed_shapes()), "side_1.conv.bias": torch.ones(
        32, dtype=torch.int32)}, f / "a.safetensors"), f / "a.safetensors")[1], "as int32"),
    "half bytes": (lambda f: (save_file({**random_tensors(mteed_shapes()), "side_1.conv.bias": torch.zeros(
        32, dtype=torch.uint8).view(torch.float4_e2m1fn_x2)}, f / "a.safetensors"), f / "a.safetensors")[1], "float4"),
    "HED": (lambda f: saved(f / "a.pth", {"netVggOne.0.weight": torch.ones(1)}), "a HED model"),
    "PiDiNet": (lambda f: saved(f / "a.pth", {"init_block.weight": torch.ones(1)}), "a PiDiNet model"),
    "line art": (lambda f: saved(f / "a.pth", {"model0.1.weight": torch.ones(1)}), "a line art model"),
    "LDC": (lambda f: changed(f / "a.pth", mteed_shapes(), **{"dblock_4.a": torch.ones(1)}), "an LDC or DexiNed"),
    "other TEED": (lambda f: changed(f / "a.pth", mteed_shapes(), **{"block_cat.conv1.weight": torch.ones(1)}),
        "another version of TEED"),
    "depth": (lambda f: saved(f / "a.pth", hollow(SMALL)), "holds a Depth Anything model, not AnyLine's TEED"),
    "SAM": (lambda f: saved(f / "a.pth", {"image_encoder.trunk.pos_embed": torch.ones(1)}), "a Segment Anything model"),
    "a folder": (lambda f: published(f / "m", config()), "is a folder, and AnyLine is one file; choose MTEED.pth"),
}  # fmt: skip


@pytest.mark.parametrize("case", [*COMMON, *DEPTH])
def test_bad_depth_files(tmp_path, case, capsys):
    make, expected = {**COMMON, **DEPTH}[case]
    with pytest.raises(CheckpointError) as caught:
        load_depth_anything(make(tmp_path))
    assert expected in one_sentence(caught.value)
    assert "pickled code ran" not in capsys.readouterr().out


@pytest.mark.parametrize("case", [*COMMON, *LINES])
def test_bad_line_files(tmp_path, case, capsys):
    make, expected = {**COMMON, **LINES}[case]
    with pytest.raises(CheckpointError) as caught:
        load_anyline(make(tmp_path))
    assert expected in one_sentence(caught.value)
    assert "pickled code ran" not in capsys.readouterr().out


# ---- pictures --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "picture",
    [torch.rand(8, 8, 3), torch.rand(1, 0, 8, 3), torch.rand(0, 8, 8, 3), torch.full((1, 8, 8, 3), torch.nan),
     torch.full((1, 8, 8, 3), torch.inf)],
    ids=["no batch", "no height", "empty batch", "NaN", "infinity"],
)  # fmt: skip
def test_bad_pictures(tmp_path, picture):
    depth = load_depth_anything(saved(tmp_path / "depth.pth", hollow(SMALL)))
    lines = load_anyline(write_mteed(tmp_path / "MTEED.pth"))
    for mapped in (depth.depth, lines.lines):
        with pytest.raises(InputError) as caught:
            mapped(picture)
        assert one_sentence(caught.value).startswith("The image ")


def test_a_map_without_depth_is_black(tmp_path):
    """Weights of zeros give the same depth everywhere: no division by nothing."""
    depth = load_depth_anything(write_depth_folder(tmp_path / "small"))
    with torch.inference_mode():
        for weight in depth.network.parameters():
            weight.zero_()
        made = depth.depth(torch.rand(2, 30, 40, 4))
    assert made.shape == (2, 30, 40, 3) and not made.any()


@pytest.mark.parametrize("side, step", [(518, 14), (1280, 64), (64, 64)])
@pytest.mark.parametrize("height, width", [(1, 1), (300, 420), (4096, 1), (1, 16384), (100, 399), (2160, 3840)])
def test_reading_size(height, width, side, step):
    rows, columns = reading_size(height, width, side, step)
    assert rows % step == columns % step == 0 and rows * columns <= 4.7 * max(side, 4 * step) ** 2
    if max(height, width) <= 4 * min(height, width):
        assert abs(min(rows, columns) - side) <= step / 2
        assert abs(max(rows, columns) - side * max(height, width) / min(height, width)) <= step / 2
