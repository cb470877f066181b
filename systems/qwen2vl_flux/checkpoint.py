"""The folder `qwen2-vl` of a checkpoint: configuration, tensor names, connector.pt and t5_embedder.pt."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from ..common.errors import CheckpointError, quoted
from ..common.weights.checks import warn_of_nan
from ..common.weights.config import MANY, ConfigReader
from ..common.weights.files import read_pt
from ..common.weights.shards import WeightFiles

# The chat text before an image in Qwen2-VL's tokens: <|im_start|>system, You are a helpful assistant.<|im_end|>,
# <|im_start|>user, <|vision_start|>.
PUBLISHED_PREFIX_IDS = (151644, 8948, 198, 2610, 525, 264, 10950, 17847, 13, 151645, 198, 151644, 872, 198, 151652)

EMBEDDINGS = "model.embed_tokens.weight"
UNUSED = ("lm_head.",)
MOST_WORDS, MOST_PIXELS = 1 << 24, 1 << 30
# The most tokens of one image, and the pixels that each of them takes of it in the published model.
MOST_TOKENS, TOKEN_PIXELS = 1 << 14, 28**2


@dataclass(frozen=True)
class VisionConfig:
    """Vision tower: widths, depth and how pixels become patches."""

    depth: int
    width: int
    heads: int
    mlp_width: int
    patch: int
    temporal_patch: int
    merge: int

    @property
    def factor(self) -> int:
        """Pixels per token along each side."""
        return self.patch * self.merge


@dataclass(frozen=True)
class Qwen2VLConfig:
    """What config.json and preprocessor_config.json of a `qwen2-vl` folder say about the image path.

    prefix_ids: tokens before the image tokens; image_pixels: the one picture area (pixels) the checkpoint was made
    for, or None where its preprocessor leaves a range.
    """

    vision: VisionConfig
    width: int
    layers: int
    heads: int
    kv_heads: int
    mlp_width: int
    norm_eps: float
    rope_theta: float
    rope_sections: tuple[int, ...]
    vocabulary: int
    prefix_ids: tuple[int, ...]
    image_mean: tuple[float, ...]
    image_std: tuple[float, ...]
    image_pixels: int | None

    @property
    def head_width(self) -> int:
        return self.width // self.heads

    @property
    def factor(self) -> int:
        """Pixels per token along each side."""
        return self.vision.factor


def read_config(folder: Path) -> Qwen2VLConfig:
    """The configuration of a `qwen2-vl` folder, written by transformers 4.45 (flat) or 5.x (nested).

    Raises CheckpointError for anything from which no network can be built.
    """
    raw = ConfigReader(folder / "config.json")
    _require_qwen2vl(raw)
    text = raw.object("text_config") if "text_config" in raw.values else raw
    rope = text.object("rope_parameters" if text.values.get("rope_parameters") else "rope_scaling")
    preprocessor = ConfigReader(folder / "preprocessor_config.json")
    vision = _vision(raw.object("vision_config"))
    config = Qwen2VLConfig(
        vision=vision,
        width=text.count("hidden_size"),
        layers=text.count("num_hidden_layers", MANY),
        heads=text.count("num_attention_heads", MANY),
        kv_heads=text.count("num_key_value_heads", MANY),
        mlp_width=text.count("intermediate_size"),
        norm_eps=text.number("rms_norm_eps"),
        rope_theta=(rope if "rope_theta" in rope.values else text).number("rope_theta"),
        rope_sections=tuple(int(section) for section in rope.numbers("mrope_section", 3)),
        vocabulary=text.count("vocab_size", MOST_WORDS),
        prefix_ids=_prefix_ids(raw),
        image_mean=preprocessor.numbers("image_mean", 3),
        image_std=preprocessor.numbers("image_std", 3),
        image_pixels=_image_pixels(preprocessor, MOST_TOKENS * min(vision.factor**2, TOKEN_PIXELS)),
    )
    if config.width % config.heads or config.heads % config.kv_heads:
        raise text.invalid("num_attention_heads", "a number of heads that fits hidden_size and num_key_value_heads")
    if sum(config.rope_sections) * 2 != config.head_width:
        raise rope.invalid("mrope_section", f"three parts of half a head ({config.head_width // 2})")
    if max(config.prefix_ids) >= config.vocabulary:
        raise CheckpointError(
            f"{raw.path} has a vocabulary of {config.vocabulary}, too small for the chat text of Qwen2-VL; download "
            "the qwen2-vl folder again, or, if the vocabulary is the model's own, name the tokens before the image in "
            "image_prefix_ids."
        )
    return config


def _require_qwen2vl(raw: ConfigReader) -> None:
    kind = raw.values.get("model_type")
    if kind == "qwen2_5_vl":
        raise CheckpointError(
            f"{raw.path.parent} is a Qwen2.5-VL model with another vision tower; Qwen2VL-Flux needs the qwen2-vl "
            "folder of its own checkpoint (Qwen2-VL)."
        )
    if kind != "qwen2_vl":
        raise CheckpointError(
            f"{raw.path} describes a model of type {quoted(kind)}; put the checkpoint's own qwen2-vl folder there."
        )


def _vision(raw: ConfigReader) -> VisionConfig:
    """transformers writes only what differs from its own defaults, which are those of the published tower."""
    width, heads = raw.count("embed_dim", default=1280), raw.count("num_heads", MANY, 16)
    if width % (4 * heads):
        raise raw.invalid("num_heads", f"a number of heads that fits embed_dim {width}")
    return VisionConfig(
        depth=raw.count("depth", MANY, 32),
        width=width,
        heads=heads,
        mlp_width=width * raw.count("mlp_ratio", MANY, 4),
        patch=raw.count("patch_size", MANY, 14),
        temporal_patch=raw.count("temporal_patch_size", MANY, 2),
        merge=raw.count("spatial_merge_size", 16, 2),
    )


def _prefix_ids(raw: ConfigReader) -> tuple[int, ...]:
    ids = raw.raw("image_prefix_ids", list(PUBLISHED_PREFIX_IDS))
    if not isinstance(ids, list) or not ids or not all(type(token) is int and token >= 0 for token in ids):
        raise raw.invalid("image_prefix_ids", "a list of token numbers")
    if len(ids) > MANY:
        raise raw.invalid("image_prefix_ids", f"a list of at most {MANY} token numbers")
    return tuple(ids)


def _image_pixels(preprocessor: ConfigReader, most: int) -> int | None:
    """The picture area, `most` at the most, where smallest and largest are the same, as transformers 4.45 and 5.x write
    them."""
    if preprocessor.values.get("min_pixels") is not None:
        edges, names = preprocessor, ("min_pixels", "max_pixels")
    else:
        edges, names = preprocessor.object("size"), ("shortest_edge", "longest_edge")
    smallest, largest = (edges.count(name, MOST_PIXELS) for name in names)
    if smallest != largest:
        return None
    if smallest > most:
        raise edges.invalid(names[0], f"at most {most} pixels, which make {MOST_TOKENS} tokens")
    return smallest


def open_encoder(folder: Path) -> WeightFiles:
    """The encoder's weight files, tensors named `visual.*` and `model.*` whichever transformers wrote them."""
    return WeightFiles(folder, "model", rename=_flat_name)


def _flat_name(name: str) -> str:
    if name.startswith("model.visual."):
        return name.removeprefix("model.")
    if name.startswith("model.language_model."):
        return "model." + name.removeprefix("model.language_model.")
    return name


def read_linear(path: Path, inputs: int | None = None) -> dict[str, torch.Tensor]:
    """`weight` [out, in] and `bias` [out] of one Linear layer stored alone (connector.pt, t5_embedder.pt)."""
    state = {name.removeprefix("linear."): value for name, value in read_pt(path).items()}
    if sorted(state) != ["bias", "weight"]:
        raise CheckpointError(
            f"{path} holds {len(state)} tensors ({quoted(sorted(state)[:3])}), not the weight and bias of one Linear; "
            "download it again."
        )
    weight, bias = list(state["weight"].shape), list(state["bias"].shape)
    if len(weight) != 2 or bias != weight[:1] or (inputs is not None and weight[1] != inputs):
        wanted = "" if inputs is None else f" from {inputs} inputs"
        raise CheckpointError(
            f"{path} holds a weight of {weight} and a bias of {bias}, not those of one Linear{wanted}; it belongs to "
            "another checkpoint, download the folder again."
        )
    warn_of_nan(path, state.items())
    return state
