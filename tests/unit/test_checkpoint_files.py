"""Checkpoint folders with one thing wrong, through the functions that the loader nodes call: one sentence each."""

from __future__ import annotations

import json
import os
import pickle
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from sentences import one_sentence

from systems.common.errors import CheckpointError
from systems.common.weights.files import read_pt
from systems.common.weights.shards import WeightFiles
from systems.qwen2vl_flux.encoder import load_qwen2vl
from systems.qwen2vl_flux.flux import load_text_encoders, load_transformer, load_vae

Spoil = Callable[[Path], None]

LOAD = {
    "encoder": load_qwen2vl,
    "flux": load_transformer,
    "text": lambda folder: load_text_encoders(folder, t5=True),
    "vae": load_vae,
}

ENCODER, FLUX = "qwen2-vl/model", "flux/transformer/diffusion_pytorch_model"
CLIP_L, T5, VAE = "flux/text_encoder", "flux/text_encoder_2", "flux/vae/diffusion_pytorch_model.safetensors"
SHARD, INDEX = f"{ENCODER}-00002-of-00003.safetensors", f"{ENCODER}.safetensors.index.json"
FLUX_SHARD, FLUX_INDEX = f"{FLUX}-00002-of-00003.safetensors", f"{FLUX}.safetensors.index.json"
CONFIG, PIXELS = "qwen2-vl/config.json", "qwen2-vl/preprocessor_config.json"
CONNECTOR, EMBEDDER = "qwen2-vl/connector.pt", "qwen2-vl/t5_embedder.pt"
NORM, GATE = "model.norm.weight", "model.layers.0.mlp.gate_proj.weight"

WEB_PAGE = b"<!DOCTYPE html>\n<html><head><title>Log in to continue</title></head></html>"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 4969985904\n"
NOISE = random.Random(0).randbytes(4096)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, tiny: Path, root: Path) -> Path:
    """A complete checkpoint: encoder and FLUX of the goldens, text encoders and VAE of the demo."""
    folder = tmp_path_factory.mktemp("whole") / "ckpt"
    shutil.copytree(tiny, folder, copy_function=os.link)
    for component in ("text_encoder", "text_encoder_2", "vae"):
        shutil.copytree(root / "demo" / "flux" / component, folder / "flux" / component)
    return folder


@pytest.fixture
def checkpoint(tmp_path: Path, whole: Path) -> Path:
    """A copy to spoil: its files are links, which `put` replaces and never writes through."""
    return Path(shutil.copytree(whole, tmp_path / "ckpt", copy_function=os.link))


def put(name: str, content: bytes) -> Spoil:
    def spoil(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).write_bytes(content)

    return spoil


def cut(name: str, share: float = 0.6) -> Spoil:
    def spoil(folder: Path) -> None:
        content = (folder / name).read_bytes()
        put(name, content[: int(len(content) * share)])(folder)

    return spoil


def remove(name: str) -> Spoil:
    def spoil(folder: Path) -> None:
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return spoil


def folder_instead(name: str) -> Spoil:
    def spoil(folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).mkdir()

    return spoil


def rename(old: str, new: str) -> Spoil:
    return lambda folder: (folder / old).rename(folder / new)


def pickled(name: str, value: object) -> Spoil:
    def spoil(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        torch.save(value, folder / name)

    return spoil


def edited(name: str, **entries: object) -> Spoil:
    """A JSON file with entries changed (`vision_config__depth` is one inside another) or, given `...`, taken out."""

    def spoil(folder: Path) -> None:
        values = json.loads((folder / name).read_text())
        for entry, value in entries.items():
            *outer, last = entry.split("__")
            place = values
            for step in outer:
                place = place[step]
            if value is ...:
                del place[last]
            else:
                place[last] = value
        put(name, json.dumps(values).encode())(folder)

    return spoil


def weights(name: str, change: Callable[[dict[str, torch.Tensor]], object], index: str | None = None) -> Spoil:
    """A safetensors file with its tensors changed, and the index that names them with it."""

    def spoil(folder: Path) -> None:
        state = load_file(folder / name)
        change(state)
        (folder / name).unlink()
        save_file(state, folder / name, metadata={"format": "pt"})
        if index is not None:
            names = json.loads((folder / index).read_text())["weight_map"]
            others = {tensor: shard for tensor, shard in names.items() if shard != Path(name).name}
            names = {**others, **dict.fromkeys(state, Path(name).name)}
            put(index, json.dumps({"weight_map": names}).encode())(folder)

    return spoil


def mapped(name: str, change: Callable[[dict[str, str]], object]) -> Spoil:
    """A shard index with its weight_map changed."""

    def spoil(folder: Path) -> None:
        values = json.loads((folder / name).read_text())
        change(values["weight_map"])
        put(name, json.dumps(values).encode())(folder)

    return spoil


def both(*spoils: Spoil) -> Spoil:
    def spoil(folder: Path) -> None:
        for one in spoils:
            one(folder)

    return spoil


def as_a_qwen2_5_vl(state: dict[str, torch.Tensor]) -> None:
    """The vision tower's names of Qwen2.5-VL: RMSNorm without bias, gated MLP."""
    for name in [name for name in state if ".mlp.fc" in name]:
        state[name.replace("fc1", "gate_proj").replace("fc2", "down_proj")] = state.pop(name)
    for name in [name for name in state if name.endswith(("norm1.bias", "norm2.bias", "ln_q.bias"))]:
        del state[name]


def one_shard_as_the_whole(folder: Path) -> None:
    """What UNETLoader-minded users do: one shard under the name of a single file."""
    rename(f"{FLUX}-00001-of-00003.safetensors", f"{FLUX}.safetensors")(folder)
    remove(FLUX_INDEX)(folder)


CASES = {
    # the folder
    "no encoder folder": ("encoder", remove("qwen2-vl"), "qwen2-vl is missing", "download that folder"),
    "no transformer folder": ("flux", remove("flux/transformer"), "transformer is missing", "download that folder"),
    "no flux folder": ("flux", remove("flux"), "transformer is missing", "download that folder"),
    "no CLIP-L folder": ("text", remove(CLIP_L), "text_encoder is missing", "download that folder"),
    "no T5 folder": ("text", remove(T5), "text_encoder_2 is missing", "download that folder"),
    "no VAE folder": ("vae", remove("flux/vae"), "vae is missing", "download that folder"),
    "no VAE file": ("vae", remove(VAE), "has neither", "download its weights"),
    # shard indices
    "no index": ("encoder", remove(INDEX), "no model.safetensors.index.json", "download that file too"),
    "no FLUX index": ("flux", remove(FLUX_INDEX), "no diffusion_pytorch_model.safetensors.index.json", "download that"),
    "index not JSON": ("encoder", put(INDEX, b'{"weight_map": {'), "index.json is not a JSON file", "download it"),
    "index a web page": ("flux", put(FLUX_INDEX, WEB_PAGE), "index.json is not a JSON file", "download it again"),
    "index not text": ("encoder", put(INDEX, NOISE), "index.json is not a JSON file", "download it again"),
    "index a list": ("encoder", put(INDEX, b"[]"), "holds no JSON object", "download it again"),
    "index a folder": ("encoder", folder_instead(INDEX), "index.json is not a JSON file", "download it again"),
    "index nested without end": ("encoder", put(INDEX, b"[" * 100_000), "is not a JSON file", "download it again"),
    "no weight_map": ("encoder", put(INDEX, b'{"metadata": {}}'), "has no weight_map", "download it again"),
    "weight_map empty": ("flux", put(FLUX_INDEX, b'{"weight_map": {}}'), "has no weight_map", "download it again"),
    "weight_map a list": ("encoder", put(INDEX, b'{"weight_map": ["a"]}'), "has no weight_map", "download it again"),
    "weight_map of numbers": ("encoder", put(INDEX, b'{"weight_map": {"a": 5}}'), "names 5, not a .safet", "again"),
    "index points outside": (
        "encoder",
        mapped(INDEX, lambda names: names.update({NORM: "../../../etc/passwd"})),
        "names '../../../etc/passwd', not a .safetensors file beside it",
        "download it again",
    ),
    "index points at the parent": (
        "encoder",
        mapped(INDEX, lambda names: names.update({NORM: ".."})),
        "names '..', not a .safetensors file beside it",
        "download it again",
    ),
    "index points into a folder": (
        "flux",
        mapped(FLUX_INDEX, lambda names: names.update({"proj_out.bias": "more/a.safetensors"})),
        "names 'more/a.safetensors', not a .safetensors file beside it",
        "download it again",
    ),
    "index names another kind of file": (
        "encoder",
        both(put("qwen2-vl/b.pt", b"PK"), mapped(INDEX, lambda names: names.update({NORM: "b.pt"}))),
        "names 'b.pt', not a .safetensors file beside it",
        "download it again",
    ),
    "index names half a letter": (
        "encoder", mapped(INDEX, lambda names: names.update({NORM: "\ud800"})), r"names '\ud800', not a", "again",
    ),
    "index names half a letter as a shard": (
        "flux",
        mapped(FLUX_INDEX, lambda names: names.update({"proj_out.bias": "\ud800.safetensors"})),
        r"lacks 1 of 4 shards (\ud800.safetensors)",
        "download the missing files",
    ),
    "index names a shard of many letters": (
        "encoder",
        mapped(INDEX, lambda names: names.update({NORM: "x" * 300 + ".safetensors"})),
        "lacks 1 of 4 shards (xxx",
        "download the missing files",
    ),
    "index names a shard of no end": (
        "flux",
        mapped(FLUX_INDEX, lambda names: names.update({"proj_out.bias": "x" * 10**6 + ".safetensors"})),
        "lacks 1 of 4 shards (xxx",
        "download the missing files",
    ),
    "index names a shard with a zero in it": (
        "encoder",
        mapped(INDEX, lambda names: names.update({NORM: "a\0.safetensors"})),
        r"lacks 1 of 4 shards (a\x00.safetensors)",
        "download the missing files",
    ),
    "index names two lines": (
        "encoder",
        mapped(INDEX, lambda names: names.update({NORM: "a\nb.safetensors"})),
        r"lacks 1 of 4 shards (a\nb.safetensors)",
        "download the missing files",
    ),
    "index names ten thousand absent shards": (
        "encoder",
        mapped(INDEX, lambda names: names.update({f"t{n}": f"a{n:05}.safetensors" for n in range(10_000)})),
        "lacks 10000 of 10003 shards (a00000.safetensors, a00001.safetensors, a00002.safetensors, ...)",
        "download the missing files",
    ),
    "index promises a tensor of a million letters": (
        "encoder",
        mapped(INDEX, lambda names: names.update({"x" * 10**6: "model-00001-of-00003.safetensors"})),
        "does not hold xxxx",
        "download the folder again",
    ),
    "index names an absent shard": (
        "encoder",
        mapped(INDEX, lambda names: names.update({NORM: "model-00004-of-00003.safetensors"})),
        "lacks 1 of 4 shards (model-00004-of-00003.safetensors)",
        "download the missing files",
    ),
    "index promises a tensor of no shard": (
        "encoder",
        mapped(INDEX, lambda names: names.update({"model.extra.weight": "model-00001-of-00003.safetensors"})),
        "model-00001-of-00003.safetensors does not hold model.extra.weight",
        "download the folder again",
    ),
    "index looks in the wrong shard": (
        "flux",
        mapped(FLUX_INDEX, lambda names: names.update({"proj_out.bias": Path(FLUX_SHARD).name})),
        "does not hold proj_out.bias, which diffusion_pytorch_model.safetensors.index.json promises",
        "different downloads",
    ),
    # weight files
    "a shard missing": ("encoder", remove(SHARD), "lacks 1 of 3 shards (model-00002-of", "download the missing files"),
    "a FLUX shard missing": ("flux", remove(FLUX_SHARD), "lacks 1 of 3 shards", "download the missing files"),
    "a T5 shard missing": (
        "text", remove(f"{T5}/model-00002-of-00002.safetensors"), "lacks 1 of 2 shards", "download the missing files",
    ),
    "a shard cut short": ("encoder", cut(SHARD), "00002-of-00003.safetensors is cut short", "download it again"),
    "a FLUX shard cut in its header": ("flux", cut(FLUX_SHARD, 0.002), "is cut short", "download it again"),
    "a VAE cut short": ("vae", cut(VAE), "model.safetensors is cut short", "download it again"),
    "an empty shard": ("encoder", put(SHARD, b""), "00002-of-00003.safetensors is empty", "download it again"),
    "a blank shard": ("flux", put(FLUX_SHARD, b" \n" * 50), "00002-of-00003.safetensors is empty", "download it again"),
    "a web page as shard": ("encoder", put(SHARD, WEB_PAGE), "is a web page", "needs a login or another link"),
    "an XML error as VAE": ("vae", put(VAE, b'<?xml version="1.0"?><Error/>'), "is a web page", "download it again"),
    "a Git LFS pointer as shard": ("flux", put(FLUX_SHARD, POINTER), "is a Git LFS pointer", "git lfs pull"),
    "noise as shard": ("encoder", put(SHARD, NOISE), "is not a safetensors file", "download it again"),
    "zeros as shard": ("flux", put(FLUX_SHARD, bytes(4096)), "is not a safetensors file", "download it again"),
    "a pickle as shard": ("encoder", pickled(SHARD, {NORM: torch.ones(128)}), "is not a safetensors", "download it"),
    "a folder as shard": ("encoder", folder_instead(SHARD), "cannot be read", "check the file"),
    "a folder as VAE": ("vae", folder_instead(VAE), "cannot be read", "check the file"),
    "a pickle as CLIP-L": (
        "text", put(f"{CLIP_L}/model.safetensors", pickle.dumps({})), "is not a safetensors file", "download it again",
    ),
    "one FLUX shard as the whole": ("flux", one_shard_as_the_whole, "transformer lacks", "download the folder again"),
    "an encoder of no tensors": (
        "encoder",
        both(remove(INDEX), weights(SHARD, lambda state: state.clear()), rename(SHARD, f"{ENCODER}.safetensors")),
        "qwen2-vl lacks",
        "download the folder again",
    ),
    "a VAE of no tensors": ("vae", weights(VAE, lambda state: state.clear()), "weights in 0 files", "download"),
    # tensors
    "encoder lacks a tensor": (
        "encoder", weights(SHARD, lambda state: state.pop(GATE), INDEX), f"lacks {GATE}, which qwen2-vl", "download",
    ),
    "encoder has one more": (
        "encoder",
        weights(SHARD, lambda state: state.update({"model.layers.0.extra.weight": torch.ones(2)})),
        "holds model.layers.0.extra.weight, which qwen2-vl/config.json does not know",
        "use the checkpoint's own files",
    ),
    "encoder in another shape": (
        "encoder",
        weights(SHARD, lambda state: state.update({GATE: torch.ones(192, 64)})),
        f"holds {GATE} as [192, 64] where qwen2-vl/config.json calls for [192, 128]",
        "download the folder again",
    ),
    "encoder of a name of a million letters": (
        "encoder",
        weights(SHARD, lambda state: state.update({"model." + "x" * 10**6: torch.ones(2)})),
        "holds model.xxx",
        "use the checkpoint's own files",
    ),
    "encoder of a name of two lines": (
        "encoder",
        weights(SHARD, lambda state: state.update({"model.\n\u2028 雪": torch.ones(2)})),
        r"holds model.\n\u2028 \u96ea, which",
        "use the checkpoint's own files",
    ),
    "encoder in a hundred dimensions": (
        "encoder",
        weights(SHARD, lambda state: state.update({GATE: torch.ones([1] * 60)})),
        f"holds {GATE} as [1, 1, 1, 1, 1, 1, ...] where",
        "download the folder again",
    ),
    "encoder of half bytes": (
        "encoder",
        weights(
            SHARD,
            lambda state: state.update({GATE: torch.zeros(192, 64, dtype=torch.uint8).view(torch.float4_e2m1fn_x2)}),
        ),
        f"holds {GATE} as F4, not as floating-point numbers",
        "download the folder again",
    ),
    "encoder of whole numbers": (
        "encoder",
        weights(SHARD, lambda state: state.update({GATE: state[GATE].long()})),
        f"holds {GATE} as I64, not as floating-point numbers",
        "download the folder again",
    ),
    "encoder of true and false": (
        "encoder", weights(SHARD, lambda state: state.update({GATE: state[GATE].bool()})), f"{GATE} as BOOL", "again",
    ),
    "FLUX of whole numbers": (
        "flux",
        weights(f"{FLUX}-00003-of-00003.safetensors", lambda state: state.update(
            {"proj_out.bias": state["proj_out.bias"].char()})),
        "holds proj_out.bias as I8, not as floating-point numbers",
        "download the folder again",
    ),
    "FLUX of complex numbers": (
        "flux",
        weights(f"{FLUX}-00003-of-00003.safetensors", lambda state: state.update(
            {"proj_out.bias": state["proj_out.bias"].cfloat()})),
        "holds proj_out.bias as C64, not as floating-point numbers",
        "download the folder again",
    ),
    "CLIP-L of whole numbers": (
        "text",
        weights(f"{CLIP_L}/model.safetensors", lambda state: state.update(
            {"text_model.final_layer_norm.bias": state["text_model.final_layer_norm.bias"].long()})),
        "holds text_model.final_layer_norm.bias as I64",
        "download the folder again",
    ),
    "T5 of bytes": (
        "text",
        weights(f"{T5}/model-00002-of-00002.safetensors", lambda state: state.update(
            {"encoder.final_layer_norm.weight": state["encoder.final_layer_norm.weight"].byte()})),
        "holds encoder.final_layer_norm.weight as U8",
        "download the folder again",
    ),
    "VAE of whole numbers": (
        "vae",
        weights(VAE, lambda state: state.update(
            {"taesd_decoder.3.conv.0.bias": state["taesd_decoder.3.conv.0.bias"].long()})),
        "holds taesd_decoder.3.conv.0.bias as I64, not as floating-point numbers",
        "download FLUX's vae again",
    ),
    "VAE of true and false": (
        "vae",
        weights(VAE, lambda state: state.update({name: value.bool() for name, value in state.items()})),
        "more tensors as BOOL, not as floating-point numbers",
        "download FLUX's vae again",
    ),
    "Qwen2.5-VL weights": (
        "encoder",
        weights(f"{ENCODER}-00001-of-00003.safetensors", as_a_qwen2_5_vl, INDEX),
        "qwen2-vl lacks visual.",
        "download the folder again",
    ),
    "FLUX lacks a tensor": (
        "flux",
        weights(f"{FLUX}-00003-of-00003.safetensors", lambda state: state.pop("proj_out.bias"), FLUX_INDEX),
        "lacks proj_out.bias, which transformer/config.json",
        "download the folder again",
    ),
    "FLUX has one more": (
        "flux",
        weights(FLUX_SHARD, lambda state: state.update({"controlnet.weight": torch.ones(2)})),
        "holds controlnet.weight, which transformer/config.json does not know",
        "use the checkpoint's own files",
    ),
    "FLUX in another shape": (
        "flux",
        weights(f"{FLUX}-00003-of-00003.safetensors", lambda state: state.update({"proj_out.bias": torch.ones(3)})),
        "holds proj_out.bias as [3] where transformer/config.json calls for [64]",
        "download the folder again",
    ),
    "CLIP-L lacks a tensor": (
        "text",
        weights(f"{CLIP_L}/model.safetensors", lambda state: state.pop("text_model.final_layer_norm.bias")),
        "lacks text_model.final_layer_norm.bias, which text_encoder/config.json",
        "download the folder again",
    ),
    "CLIP-L in another shape": (
        "text",
        weights(
            f"{CLIP_L}/model.safetensors",
            lambda state: state.update({"text_model.final_layer_norm.bias": torch.ones(5)}),
        ),
        "holds text_model.final_layer_norm.bias as [5]",
        "download the folder again",
    ),
    "T5 has one more": (
        "text",
        weights(f"{T5}/model-00002-of-00002.safetensors", lambda state: state.update({"decoder.bias": torch.ones(2)})),
        "holds decoder.bias, which text_encoder_2/config.json does not know",
        "use the checkpoint's own files",
    ),
    "VAE lacks a tensor": (
        "vae", weights(VAE, lambda state: state.pop("taesd_decoder.3.conv.0.bias")), "lacks taesd_", "download",
    ),
    "VAE has one more": (
        "vae", weights(VAE, lambda state: state.update({"extra": torch.ones(2)})), "the unknown extra;", "again",
    ),
    "VAE in another shape": (
        "vae",
        weights(VAE, lambda state: state.update({"taesd_decoder.3.conv.0.bias": torch.ones(5)})),
        "tensors of shapes that no autoencoder",
        "download FLUX's vae again",
    ),
    "VAE of another model": (
        "vae",
        weights(VAE, lambda state: (state.clear(), state.update({"quant.weight": torch.ones(2)}))),
        "is not an autoencoder",
        "put FLUX's own vae folder there",
    ),
    "VAE of four channels": (
        "vae",
        weights(
            VAE,
            lambda state: state.update(
                {
                    "taesd_decoder.1.weight": torch.ones(64, 4, 3, 3),
                    "taesd_encoder.14.weight": torch.ones(4, 64, 3, 3),
                    "taesd_encoder.14.bias": torch.ones(4),
                }
            ),
        ),
        "of 4 latent channels, FLUX's has 16",
        "put FLUX's own vae folder there",
    ),
    # configurations
    "no config": ("encoder", remove(CONFIG), "config.json is missing", "download it into that folder"),
    "config cut": ("encoder", cut(CONFIG), "config.json is not a JSON file", "download it again"),
    "config of Qwen2.5-VL": ("encoder", edited(CONFIG, model_type="qwen2_5_vl"), "is a Qwen2.5-VL", "(Qwen2-VL)"),
    "config of another model": ("encoder", edited(CONFIG, model_type="llama"), "'llama'", "put the checkpoint's own"),
    "config of no model": ("encoder", edited(CONFIG, model_type=...), "type None", "put the checkpoint's own"),
    "no vision_config": ("encoder", edited(CONFIG, vision_config=...), "no entry vision_config", "download it again"),
    "vision_config text": ("encoder", edited(CONFIG, vision_config="x"), "vision_config 'x', not an object", "again"),
    "text_config null": ("encoder", edited(CONFIG, text_config=None), "no entry text_config", "download it again"),
    "no rope": ("encoder", edited(CONFIG, rope_scaling=...), "no entry rope_scaling", "download it again"),
    "text for a number": ("encoder", edited(CONFIG, hidden_size="wide"), "hidden_size 'wide'", "download it again"),
    "a number as text": ("encoder", edited(CONFIG, vision_config__mlp_ratio="2"), "mlp_ratio '2'", "download it again"),
    "no heads": ("encoder", edited(CONFIG, num_attention_heads=0), "num_attention_heads 0", "download it again"),
    "heads that do not fit": ("encoder", edited(CONFIG, num_attention_heads=3), "num_attention_heads 3", "again"),
    "no vision heads": ("encoder", edited(CONFIG, vision_config__num_heads=0), "vision_config.num_heads 0", "again"),
    "vision heads that do not fit": (
        "encoder", edited(CONFIG, vision_config__num_heads=3), "num_heads 3, not a number of heads that fits", "again",
    ),
    "no heads for keys": ("encoder", edited(CONFIG, num_key_value_heads=0), "num_key_value_heads 0", "again"),
    "layers below none": ("encoder", edited(CONFIG, num_hidden_layers=-2), "num_hidden_layers -2", "download it again"),
    "layers without end": ("encoder", edited(CONFIG, num_hidden_layers=10**12), "num_hidden_layers 1000", "again"),
    "layers of 400 digits": (
        "encoder", edited(CONFIG, num_hidden_layers=10**400), "num_hidden_layers 1000000000", "download it again",
    ),
    "a norm of 400 digits": ("encoder", edited(CONFIG, rms_norm_eps=10**400), "rms_norm_eps 10000000", "again"),
    "a norm of 400 digits below none": ("encoder", edited(CONFIG, rms_norm_eps=-(10**400)), "rms_norm_eps -100", "ag"),
    "rope sections of 400 digits": (
        "encoder", edited(CONFIG, rope_scaling__mrope_section=[10**400, 8, 8]), "mrope_section [10000", "again",
    ),
    "a number of 5000 digits": (
        "encoder", put(CONFIG, b'{"hidden_size": ' + b"1" * 5000 + b"}"), "config.json is not a JSON file", "again",
    ),
    "an entry of a million letters": ("encoder", edited(CONFIG, hidden_size="x" * 10**6), "hidden_size 'xxx", "again"),
    "an entry of two lines": (
        "encoder", edited(CONFIG, hidden_size="a\n\u0085雪"), r"hidden_size 'a\n\x85\u96ea', not", "download it again",
    ),
    "a model of a million letters": ("encoder", edited(CONFIG, model_type="x" * 10**6), "type 'xxx", "put the check"),
    "half a layer": ("encoder", edited(CONFIG, num_hidden_layers=1.5), "num_hidden_layers 1.5", "download it again"),
    "infinite width": ("encoder", edited(CONFIG, hidden_size=float("inf")), "hidden_size inf", "download it again"),
    "norm of NaN": ("encoder", edited(CONFIG, rms_norm_eps=float("nan")), "rms_norm_eps nan", "download it again"),
    "true for a number": ("encoder", edited(CONFIG, intermediate_size=True), "intermediate_size True", "again"),
    "merge of opposite sign": (
        "encoder", edited(CONFIG, vision_config__spatial_merge_size=-2), "spatial_merge_size -2", "download it again",
    ),
    "two rope sections": (
        "encoder", edited(CONFIG, rope_scaling__mrope_section=[8, 8]), "rope_scaling.mrope_section [8, 8]", "again",
    ),
    "rope sections that do not fit": (
        "encoder", edited(CONFIG, rope_scaling__mrope_section=[4, 4, 4]), "mrope_section [4, 4, 4]", "download it",
    ),
    "more layers than weights": ("encoder", edited(CONFIG, num_hidden_layers=3), "lacks model.layers.2.", "download"),
    "fewer layers than weights": (
        "encoder", edited(CONFIG, num_hidden_layers=1), "holds model.layers.1.", "use the checkpoint's own files",
    ),
    "a vocabulary too small": ("encoder", edited(CONFIG, vocab_size=400), "vocabulary of 400", "image_prefix_ids"),
    "no words before the image": ("encoder", edited(CONFIG, image_prefix_ids=[]), "image_prefix_ids []", "again"),
    "words below none": ("encoder", edited(CONFIG, image_prefix_ids=[-1]), "image_prefix_ids [-1]", "download it"),
    "words without end": (
        "encoder",
        edited(CONFIG, image_prefix_ids=[1] * 20_000),
        "image_prefix_ids [1, 1, 1, 1, 1, 1, ...], not a list of at most 1024 token numbers",
        "download it again",
    ),
    "words of 400 digits": (
        "encoder", edited(CONFIG, image_prefix_ids=[10**400]), "too small for the chat text", "download the qwen2-vl",
    ),
    "words as text": ("encoder", edited(CONFIG, image_prefix_ids=["a"] * 99), "image_prefix_ids ['a'", "download it"),
    "no preprocessor": ("encoder", remove(PIXELS), "preprocessor_config.json is missing", "download it into that"),
    "preprocessor a web page": ("encoder", put(PIXELS, WEB_PAGE), "config.json is not a JSON file", "download it"),
    "preprocessor a list": ("encoder", put(PIXELS, b"[1]"), "preprocessor_config.json holds no JSON object", "again"),
    "no image_mean": ("encoder", edited(PIXELS, image_mean=...), "no entry image_mean", "download it again"),
    "image_mean of two": ("encoder", edited(PIXELS, image_mean=[0.5, 0.5]), "image_mean [0.5, 0.5]", "again"),
    "image_std of zero": ("encoder", edited(PIXELS, image_std=[0.2, 0, 0.2]), "image_std [0.2, 0, 0.2]", "again"),
    "image_std of text": ("encoder", edited(PIXELS, image_std=["a", "b", "c"]), "image_std ['a', 'b', 'c']", "again"),
    "pixels below none": ("encoder", edited(PIXELS, min_pixels=-4, max_pixels=-4), "min_pixels -4", "download it"),
    "pixels beyond 16,384 tokens": (
        "encoder",
        edited(PIXELS, min_pixels=2**26, max_pixels=2**26),
        f"min_pixels 67108864, not at most {16384 * 28**2} pixels, which make 16384 tokens",
        "download it again",
    ),
    "edges beyond 16,384 tokens": (
        "encoder",
        edited(PIXELS, min_pixels=..., max_pixels=..., size={"shortest_edge": 2**24, "longest_edge": 2**24}),
        "shortest_edge 16777216, not at most",
        "download it again",
    ),
    "one pixel beyond 16,384 tokens": (
        "encoder",
        edited(PIXELS, min_pixels=16384 * 28**2 + 1, max_pixels=16384 * 28**2 + 1),
        "min_pixels 12845057, not at most",
        "download it again",
    ),
    "no pixels at all": ("encoder", edited(PIXELS, min_pixels=...), "no entry size", "download it again"),
    "no FLUX config": ("flux", remove("flux/transformer/config.json"), "config.json is missing", "download it into"),
    "FLUX config of another class": (
        "flux",
        edited("flux/transformer/config.json", _class_name="SD3Transformer2DModel"),
        "describes a 'SD3Transformer2DModel'",
        "put the checkpoint's own flux/transformer folder there",
    ),
    "FLUX config without layers": (
        "flux", edited("flux/transformer/config.json", num_layers=...), "no entry num_layers", "download it again",
    ),
    "FLUX layers as text": (
        "flux", edited("flux/transformer/config.json", num_layers="2"), "num_layers '2'", "download it again",
    ),
    "FLUX layers without end": (
        "flux", edited("flux/transformer/config.json", num_single_layers=10**9), "num_single_layers 10", "again",
    ),
    "FLUX without heads": (
        "flux", edited("flux/transformer/config.json", num_attention_heads=0), "num_attention_heads 0", "again",
    ),
    "FLUX axes of odd width": (
        "flux", edited("flux/transformer/config.json", axes_dims_rope=[15, 57, 56]), "axes_dims_rope [15", "again",
    ),
    "FLUX axes that do not fit": (
        "flux", edited("flux/transformer/config.json", axes_dims_rope=[16, 16, 16]), "axes_dims_rope [16", "again",
    ),
    "FLUX of another context": (
        "flux",
        edited("flux/transformer/config.json", joint_attention_dim=4096),
        "context_embedder.weight as [256, 384] where transformer/config.json calls for [256, 4096]",
        "download the folder again",
    ),
    "no CLIP-L config": ("text", remove(f"{CLIP_L}/config.json"), "config.json is missing", "download it into"),
    "T5 in the place of CLIP-L": (
        "text", edited(f"{CLIP_L}/config.json", model_type="t5"), "type 't5', not 'clip_text_model'", "text_encoder",
    ),
    "CLIP-L without heads": (
        "text", edited(f"{CLIP_L}/config.json", num_attention_heads=0), "num_attention_heads 0", "download it again",
    ),
    "CLIP-L heads that do not fit": (
        "text", edited(f"{CLIP_L}/config.json", num_attention_heads=3), "num_attention_heads 3", "download it again",
    ),
    "CLIP-L of an unknown activation": (
        "text", edited(f"{CLIP_L}/config.json", hidden_act="relu"), "hidden_act 'relu', not one of quick_gelu", "again",
    ),
    "CLIP-L activation a list": (
        "text", edited(f"{CLIP_L}/config.json", hidden_act=[]), "hidden_act []", "download it again",
    ),
    "T5 config without width": ("text", edited(f"{T5}/config.json", d_model=...), "no entry d_model", "download it"),
    "T5 width as text": ("text", edited(f"{T5}/config.json", d_kv="4"), "d_kv '4'", "download it again"),
    # the two .pt files
    "no connector": ("encoder", remove(CONNECTOR), "connector.pt is missing", "download it into that folder"),
    "no t5_embedder": ("encoder", remove(EMBEDDER), "t5_embedder.pt is missing", "download it into that folder"),
    "connector a web page": ("encoder", put(CONNECTOR, WEB_PAGE), "connector.pt is a web page", "needs a login"),
    "t5_embedder a pointer": ("encoder", put(EMBEDDER, POINTER), "t5_embedder.pt is a Git LFS pointer", "git lfs pull"),
    "connector empty": ("encoder", put(CONNECTOR, b""), "connector.pt is empty", "download it again"),
    "connector a folder": ("encoder", folder_instead(CONNECTOR), "cannot be read", "check the file"),
    "connector cut short": ("encoder", cut(CONNECTOR), "or it is cut short", "download it again"),
    "t5_embedder cut short": ("encoder", cut(EMBEDDER, 0.1), "t5_embedder.pt is not a file of", "download it again"),
    "connector noise": ("encoder", put(CONNECTOR, NOISE), "connector.pt is not a file of plain tensors", "again"),
    "connector a bare pickle": ("encoder", put(CONNECTOR, pickle.dumps({"a": 1})), "is not a file of plain", "again"),
    "connector a whole module": (
        "encoder", pickled(CONNECTOR, torch.nn.Linear(128, 384)), "is not a file of plain tensors", "download it again",
    ),
    "connector a tensor": ("encoder", pickled(CONNECTOR, torch.ones(3)), "something else than named tensors", "again"),
    "connector of numbers": ("encoder", pickled(CONNECTOR, {"weight": 1}), "something else than named", "again"),
    "connector of integers": (
        "encoder",
        pickled(CONNECTOR, {"weight": torch.ones(384, 128, dtype=torch.int8), "bias": torch.ones(384)}),
        "holds 'weight' beside tensors of floating-point numbers",
        "use the published file of plain weights",
    ),
    "connector of nothing but shapes": (
        "encoder",
        pickled(CONNECTOR, {"weight": torch.ones(384, 128, device="meta"), "bias": torch.ones(384, device="meta")}),
        "is not a file of plain tensors",
        "download it again",
    ),
    "connector with the shape of a bias": (
        "encoder",
        pickled(CONNECTOR, {"weight": torch.ones(384, 128), "bias": torch.ones(384, device="meta")}),
        "is not a file of plain tensors",
        "download it again",
    ),
    "connector of what is not zero": (
        "encoder",
        pickled(CONNECTOR, {"weight": torch.ones(384, 128).to_sparse(), "bias": torch.ones(384)}),
        "is not a file of plain tensors",
        "download it again",
    ),
    "t5_embedder of what is not zero": (
        "encoder",
        pickled(EMBEDDER, {"weight": torch.ones(256, 384), "bias": torch.ones(256).to_sparse()}),
        "is not a file of plain tensors",
        "download it again",
    ),
    "connector of a name of a million letters": (
        "encoder", pickled(CONNECTOR, {"x" * 10**6: torch.ones(2)}), "1 tensors (['xxx", "download it again",
    ),
    "connector of a name of two lines": (
        "encoder", pickled(CONNECTOR, {"a\n雪": torch.ones(2), "b": 1}), r"holds 'b' beside", "published file",
    ),
    "connector of nothing": ("encoder", pickled(CONNECTOR, {}), "holds 0 tensors", "download it again"),
    "connector of other names": (
        "encoder", pickled(CONNECTOR, {"proj.weight": torch.ones(384, 128)}), "1 tensors (['proj.weight'])", "again",
    ),
    "connector a whole model": (
        "encoder",
        pickled(CONNECTOR, {f"model.layers.{i}.mlp.gate_proj.weight": torch.ones(1) for i in range(200)}),
        "holds 200 tensors",
        "not the weight and bias of one Linear",
    ),
    "connector without bias": ("encoder", pickled(CONNECTOR, {"weight": torch.ones(384, 128)}), "1 tensors", "again"),
    "connector for another width": (
        "encoder",
        pickled(CONNECTOR, {"weight": torch.ones(384, 3584), "bias": torch.ones(384)}),
        "weight of [384, 3584] and a bias of [384], not those of one Linear from 128 inputs",
        "belongs to another checkpoint",
    ),
    "connector of one dimension": (
        "encoder",
        pickled(CONNECTOR, {"linear.weight": torch.ones(384), "linear.bias": torch.ones(384)}),
        "holds a weight of [384]",
        "download the folder again",
    ),
    "connector of one number": (
        "encoder",
        pickled(CONNECTOR, {"weight": torch.tensor(1.0), "bias": torch.tensor(1.0)}),
        "holds a weight of []",
        "download the folder again",
    ),
    "t5_embedder with another bias": (
        "encoder",
        pickled(EMBEDDER, {"weight": torch.ones(256, 384), "bias": torch.ones(255)}),
        "t5_embedder.pt holds a weight of [256, 384] and a bias of [255]",
        "download the folder again",
    ),
    "t5_embedder of other names": (
        "encoder", pickled(EMBEDDER, {"a": torch.ones(2), "b": torch.ones(2)}), "2 tensors (['a', 'b'])", "again",
    ),
}  # fmt: skip


@pytest.mark.parametrize("load, spoil, thing, remedy", CASES.values(), ids=[name.replace(" ", "_") for name in CASES])
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_one_sentence(checkpoint, load, spoil, thing, remedy):
    spoil(checkpoint)
    with pytest.raises(CheckpointError) as raised:
        LOAD[load](checkpoint)
    sentence = one_sentence(raised.value)
    assert str(checkpoint) in sentence
    assert thing in sentence and remedy in sentence, sentence


class Touch:
    """A pickle that makes a folder when somebody trusts it."""

    def __init__(self, place: Path):
        self.place = str(place)

    def __reduce__(self):
        return os.mkdir, (self.place,)


@pytest.mark.parametrize("name", [CONNECTOR, EMBEDDER])
@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_pickle_does_not_run(checkpoint, tmp_path, name, zipped):
    (checkpoint / name).unlink()
    state = {"weight": Touch(tmp_path / "touched"), "bias": torch.ones(384)}
    torch.save(state, checkpoint / name, _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError) as raised:
        load_qwen2vl(checkpoint)
    assert "is not a file of plain tensors" in one_sentence(raised.value)
    assert not (tmp_path / "touched").exists()
    pickle.loads(pickle.dumps(state["weight"]))
    assert (tmp_path / "touched").exists()  # it would have


def mutations(content: bytes, reach: int, count: int) -> list[bytes]:
    """Seeded damage: bytes overwritten in the first `reach`, and cuts."""
    dice = random.Random(0)
    damaged = []
    for _ in range(count):
        copy = bytearray(content)
        for _ in range(dice.randint(1, 8)):
            copy[dice.randrange(min(reach, len(copy)))] = dice.randrange(256)
        damaged.append(bytes(copy[: dice.randrange(len(copy))] if dice.random() < 0.2 else copy))
    return damaged


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_damaged_pt_files(tmp_path):
    """Whatever is broken, it is tensors or one sentence."""
    path = tmp_path / "connector.pt"
    met = 0
    for zipped in (True, False):
        torch.save({"weight": torch.ones(3, 2), "bias": torch.ones(3)}, path, _use_new_zipfile_serialization=zipped)
        for content in mutations(path.read_bytes(), reach=1200, count=250):
            path.write_bytes(content)
            try:
                read_pt(path)
            except CheckpointError as error:
                one_sentence(error)
                met += 1
    assert met > 250


def test_damaged_safetensors_headers(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file({"weight": torch.ones(3, 2), "bias": torch.ones(3)}, path, metadata={"format": "pt"})
    met = 0
    for content in mutations(path.read_bytes(), reach=200, count=400):
        path.write_bytes(content)
        try:
            WeightFiles(tmp_path, "model").read("weight", torch.float32)
        except CheckpointError as error:
            one_sentence(error)
            met += 1
        except KeyError:  # a readable file in which the tensor has another name
            pass
    assert met > 200


def state_of(folder: Path) -> dict[str, torch.Tensor]:
    return load_qwen2vl(folder).network.state_dict()


def as_one_file(folder: Path) -> None:
    """One file under transformers' or diffusers' name for it, no index."""
    for stem in (ENCODER, FLUX):
        state = {}
        for shard in sorted(folder.glob(f"{stem}-*.safetensors")):
            state.update(load_file(shard))
            shard.unlink()
        (folder / f"{stem}.safetensors.index.json").unlink()
        save_file(state, folder / f"{stem}.safetensors", metadata={"format": "pt"})


def with_new_names(folder: Path) -> None:
    """Tensor names and nested configuration as transformers 5 writes them."""

    def new(name: str) -> str:
        return f"model.{name}" if name.startswith("visual.") else name.replace("model.", "model.language_model.", 1)

    for shard in sorted(folder.glob(f"{ENCODER}-*.safetensors")):
        state = load_file(shard)
        shard.unlink()
        save_file({new(name): value for name, value in state.items()}, shard, metadata={"format": "pt"})
    names = json.loads((folder / INDEX).read_text())["weight_map"]
    put(INDEX, json.dumps({"weight_map": {new(name): file for name, file in names.items()}}).encode())(folder)
    config = json.loads((folder / CONFIG).read_text())
    vision = config.pop("vision_config")
    rope = {"rope_theta": config.pop("rope_theta"), **config.pop("rope_scaling")}
    nested = {"model_type": "qwen2_vl", "vision_config": vision, "text_config": {**config, "rope_parameters": rope}}
    put(CONFIG, json.dumps(nested).encode())(folder)
    pixels = json.loads((folder / PIXELS).read_text())
    pixels["size"] = {"shortest_edge": pixels.pop("min_pixels"), "longest_edge": pixels.pop("max_pixels")}
    put(PIXELS, json.dumps(pixels).encode())(folder)


def with_a_head(folder: Path) -> None:
    """A language head, as the complete Qwen2-VL has it."""
    weights(SHARD, lambda state: state.update({"lm_head.weight": torch.ones(8, 128)}), INDEX)(folder)


def with_a_head_of_half_bytes(folder: Path) -> None:
    """A kind of numbers that torch can store and not compute with, where nothing is computed."""
    head = torch.zeros(8, 64, dtype=torch.uint8).view(torch.float4_e2m1fn_x2)
    weights(SHARD, lambda state: state.update({"lm_head.weight": head}), INDEX)(folder)


def with_old_pickles(folder: Path) -> None:
    """connector.pt and t5_embedder.pt in torch's old format, without any prefix."""
    for name in (CONNECTOR, EMBEDDER):
        state = {key.split(".")[-1]: value for key, value in torch.load(folder / name, weights_only=True).items()}
        (folder / name).unlink()
        torch.save(state, folder / name, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize(
    "change", [as_one_file, with_new_names, with_a_head, with_a_head_of_half_bytes, with_old_pickles]
)
def test_other_good_encoders(checkpoint, whole, change):
    change(checkpoint)
    expected, found = state_of(whole), state_of(checkpoint)
    assert list(expected) == list(found)
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_flux_in_one_file(checkpoint, whole):
    as_one_file(checkpoint)
    expected, found = (load_transformer(folder).model.state_dict() for folder in (whole, checkpoint))
    assert list(expected) == list(found)
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_the_untouched_copy_loads(checkpoint):
    """The cases above start from something good, and spoiling one never reached another."""
    for load in LOAD.values():
        load(checkpoint)
