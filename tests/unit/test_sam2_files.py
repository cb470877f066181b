"""SAM 2 files: the variant seen from the tensors, every way of storing them, and every file that is not one."""

from __future__ import annotations

import pickle
import sys

import pytest
import torch
from annotator_weights import random_tensors, sam2_shapes, write_sam2
from safetensors.torch import load_file, save_file
from sentences import one_sentence

from systems.annotators.sam2.annotator import load_sam2
from systems.annotators.sam2.checkpoint import VARIANTS, read_sam2
from systems.common.errors import CheckpointError

PATCHES = "image_encoder.trunk.patch_embed.proj.weight"
# The parameters of Meta's own SAM 2.1 modules, the video part included.
PARAMETERS = {"tiny": 38_962_498, "small": 46_060_354, "base plus": 80_850_178, "large": 224_446_642}


def hollow(shapes: dict) -> dict:
    """Tensors of zeros that take no space in a .pt file."""
    return {name: torch.zeros(()).expand(shape) for name, shape in shapes.items()}


def saved(path, state: dict):
    torch.save({"model": state}, path)
    return path


@pytest.mark.parametrize("version", ["2", "2.1"])
@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name.replace(" ", "_"))
def test_variants_are_seen_from_the_tensors(tmp_path, variant, version):
    shapes = sam2_shapes(variant.name, version)
    matrix = "sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"  # a buffer
    extra = 0 if version == "2.1" else 64 + 64 * 256 + 64
    assert (
        sum(torch.Size(shape).numel() for name, shape in shapes.items() if name != matrix) + extra
        == PARAMETERS[variant.name]
    )
    found = read_sam2(saved(tmp_path / "any_name.pt", hollow(shapes)))
    assert (found.variant, found.version) == (variant, version)
    assert not any("mem" in name and name != "no_memory_embedding" for name in found.state)


@pytest.mark.parametrize("variant", [variant.name for variant in VARIANTS])
def test_transformers_has_a_place_for_every_tensor(tmp_path, variant):
    sam2 = load_sam2(saved(tmp_path / "model.pt", hollow(sam2_shapes(variant))))
    assert sam2.variant.name == variant
    assert {value.dtype for value in sam2.network.state_dict().values()} == {torch.float32}


def test_without_the_video_part(tmp_path):
    shapes = {name: shape for name, shape in sam2_shapes("tiny").items() if name.startswith(("image_", "sam_"))}
    found = read_sam2(saved(tmp_path / "image_only.pt", hollow(shapes | {"no_mem_embed": (1, 1, 256)})))
    assert (found.variant.name, found.version) == ("tiny", "")


@pytest.fixture(scope="module")
def tensors() -> dict:
    return random_tensors(sam2_shapes("tiny"))


@pytest.fixture(scope="module")
def reference(tmp_path_factory) -> dict:
    return read_sam2(write_sam2(tmp_path_factory.mktemp("sam2") / "sam2.1_hiera_tiny.pt")).state


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_safetensors_of_any_precision(tmp_path, tensors, reference, dtype):
    """As other packs convert and place them; what is stored in half precision is computed in float32."""
    path = tmp_path / "sam2.1_hiera_tiny-fp16.safetensors"
    save_file({name: value.to(dtype) for name, value in tensors.items()}, path)
    state = read_sam2(path).state
    assert list(state) == list(reference)
    for name, value in state.items():
        assert value.dtype == torch.float32 and torch.equal(value, reference[name].to(dtype).float()), name


@pytest.mark.parametrize("kind", ["Sam2Model", "Sam2VideoModel"])
def test_a_folder_as_transformers_writes_it(tmp_path, reference, kind):
    """With the video part's tensors and without, and with the shared matrix stored once or twice."""
    import transformers

    model = getattr(transformers, kind)(getattr(transformers, kind.replace("Model", "Config"))())
    model.load_state_dict(reference, strict=False)
    model.save_pretrained(tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    shared = [name for name in ("prompt_encoder.shared_embedding", "shared_image_embedding")]
    for leave_out in (None, *shared):
        kept = {name: value for name, value in stored.items() if leave_out is None or not name.startswith(leave_out)}
        save_file(kept, tmp_path / "model.safetensors")
        found = read_sam2(tmp_path)
        assert found.variant.name == "tiny" and found.version == {"Sam2Model": "", "Sam2VideoModel": "2.1"}[kind]
        assert found.state.keys() == reference.keys()
        assert all(torch.equal(value, reference[name]) for name, value in found.state.items())


class RunsCode:
    def __reduce__(self):
        return print, ("pickled code ran",)


def _bytes(path, content: bytes):
    path.write_bytes(content)
    return path


def _changed(path, **changes):
    """A tiny file with tensors replaced by name, or taken out (None)."""
    state = hollow(sam2_shapes("tiny"))
    for name, value in changes.items():
        state.pop(name, None)
        if value is not None:
            state[name] = value
    return saved(path, state)


def _pickled(path):
    with path.open("wb") as file:
        pickle.dump({"model": RunsCode()}, file, protocol=2)
    return path


def _truncated(path):
    whole = write_sam2(path).read_bytes()
    return _bytes(path, whole[: len(whole) // 2])


def _with_integers(path):
    state = {name: torch.zeros(shape, dtype=torch.int64) for name, shape in sam2_shapes("tiny").items()}
    save_file(state, path)
    return path


def _folder_without_weights(path):
    path.mkdir()
    (path / "config.json").write_text("{}")
    return path


def _named(*names: str) -> dict:
    return {name: torch.zeros(2, 2) for name in names}


DECODER = "sam_mask_decoder.iou_token.weight"
BLOCK_11 = [name for name in sam2_shapes("tiny") if ".blocks.11." in name]
BAD_FILES = {
    "missing.pt": (lambda path: path, "is missing", "download it into that folder"),
    "empty.pt": (lambda path: _bytes(path, b""), "is empty", "download it again"),
    "empty.safetensors": (lambda path: _bytes(path, b""), "is empty", "download it again"),
    "page.pt": (lambda path: _bytes(path, b"<!DOCTYPE html><html>"), "is a web page, not weights", "download it"),
    "pointer.safetensors": (
        lambda path: _bytes(path, b"version https://git-lfs.github.com/spec/v1\noid sha256:0"),
        "is a Git LFS pointer",
        "git lfs pull",
    ),
    "text.safetensors": (lambda path: _bytes(path, b"sam2" * 100), "is not a safetensors file", "download it again"),
    "truncated.pt": (_truncated, "cut short", "download it again"),
    "truncated.safetensors": (_truncated, "is cut short or damaged", "download it again"),
    "code.pt": (_pickled, "not a file of plain tensors", "download it again"),
    "code.pth": (_pickled, "not a file of plain tensors", "download it again"),
    "list.pt": (lambda path: saved(path, [torch.zeros(2)]), "something else than named tensors", "download it again"),
    "integers.pt": (
        lambda path: _changed(path, **{DECODER: torch.zeros(1, 256, dtype=torch.int8)}),
        f"holds {DECODER!r} beside tensors of floating-point numbers",
        "use the published file of plain weights",
    ),
    "training.pt": (
        lambda path: _changed(path, epoch=3),
        "holds 'epoch' beside tensors of floating-point numbers",
        "use the published file of plain weights",
    ),
    "integers.safetensors": (_with_integers, "as int64, not as floating-point numbers", "download it again"),
    "nothing.pt": (lambda path: saved(path, {}), "holds no tensors, not SAM 2", "choose a file such as"),
    "sam1.pth": (
        lambda path: saved(path, _named("image_encoder.pos_embed", "image_encoder.patch_embed.proj.weight")),
        "holds a SAM 1 model, not SAM 2",
        "choose a file such as sam2_hiera_large.pt",
    ),
    "sam1_hf.pt": (
        lambda path: saved(path, _named("vision_encoder.layers.0.attn.qkv.weight")),
        "holds a SAM 1 model, not SAM 2",
        "choose a file such as",
    ),
    "mobile_sam.pt": (
        lambda path: saved(path, _named("image_encoder.layers.0.blocks.0.conv1.c.weight")),
        "holds a MobileSAM model, not SAM 2",
        "choose a file such as",
    ),
    "sam3.pt": (
        lambda path: saved(path, _named("detector.backbone.vision_backbone.trunk.blocks.0.attn.qkv.weight")),
        "holds a SAM 3 model, not SAM 2",
        "choose a file such as",
    ),
    "edgetam.pt": (
        lambda path: saved(path, _named("image_encoder.trunk.body.stem.weight", "memory_attention.norm.weight")),
        "holds an EdgeTAM model, not SAM 2",
        "choose a file such as",
    ),
    "depth_anything_v2_vitl.pth": (
        lambda path: saved(path, _named("pretrained.cls_token", "depth_head.projects.0.weight")),
        "holds a Depth Anything model, not SAM 2",
        "choose a file such as",
    ),
    "flux.pt": (
        lambda path: saved(path, _named("double_blocks.0.img_attn.qkv.weight")),
        "holds a diffusion model, not SAM 2",
        "choose a file such as",
    ),
    "other.pt": (
        lambda path: saved(path, _named("encoder.<b>" + "k" * 500)),
        "holds another model (with 'encoder.<b>kkk",
        "choose a file such as",
    ),
    "no_decoder.pt": (lambda path: _changed(path, **{DECODER: None}), f"lacks {DECODER}, which SAM 2 tiny", "again"),
    "no_block.pt": (
        lambda path: _changed(path, **dict.fromkeys(BLOCK_11)),
        f"lacks {BLOCK_11[0]} and {len(BLOCK_11) - 1} more tensors",
        "download it again",
    ),
    "one_more.pt": (
        lambda path: _changed(path, **{"sam_mask_decoder.hf_token.weight": torch.zeros(1, 256)}),
        "holds sam_mask_decoder.hf_token.weight, which SAM 2 tiny does not know",
        "it belongs to another model",
    ),
    "thirteen_blocks.pt": (
        lambda path: _changed(path, **{"image_encoder.trunk.blocks.12.norm1.weight": torch.zeros(768)}),
        "holds image_encoder.trunk.blocks.12.norm1.weight, which SAM 2 tiny does not know",
        "it belongs to another model",
    ),
    "misshapen.pt": (
        lambda path: _changed(path, **{DECODER: torch.zeros(1, 128)}),
        f"holds {DECODER} as [1, 128] where SAM 2 tiny calls for [1, 256]",
        "download it again",
    ),
    "wide.pt": (
        lambda path: _changed(path, **{PATCHES: torch.zeros(128, 3, 7, 7)}),
        f"holds {PATCHES} as [128, 3, 7, 7]",
        "choose one of Meta's four models",
    ),
    "flat.pt": (
        lambda path: _changed(path, **{PATCHES: torch.zeros(())}),
        f"holds {PATCHES} as []",
        "choose one of Meta's four models",
    ),
    "folder": (_folder_without_weights, "model.safetensors is missing", "download it into that folder"),
}


@pytest.mark.parametrize("make, thing, remedy", BAD_FILES.values(), ids=BAD_FILES)
def test_bad_files(tmp_path, capsys, request, make, thing, remedy):
    path = make(tmp_path / request.node.callspec.id)
    with pytest.raises(CheckpointError) as raised:
        load_sam2(path)
    sentence = one_sentence(raised.value)
    assert path.name in sentence and thing in sentence and remedy in sentence, sentence
    assert "pickled code ran" not in capsys.readouterr().out


def test_an_older_transformers(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)  # Python then answers every import with ImportError
    with pytest.raises(CheckpointError, match="needs the package transformers 4.56 or newer") as raised:
        load_sam2(saved(tmp_path / "sam2.pt", hollow(sam2_shapes("tiny"))))
    one_sentence(raised.value)
