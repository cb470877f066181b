"""The encoder under ComfyUI's memory management (the graph type ``QWEN2VL``)."""

from __future__ import annotations

import logging
from pathlib import Path

import comfy.model_management as mm
import comfy.model_patcher
import comfy.ops
import comfy.utils
import torch

from ..common.comfy.interrupts import interruptible
from ..common.errors import InputError, plain
from ..common.images import check_picture
from ..common.weights.shards import WeightFiles, check_layout
from .checkpoint import EMBEDDINGS, UNUSED, Qwen2VLConfig, open_encoder, read_config, read_linear
from .network import Qwen2VLNetwork
from .preprocess import patches_of
from .tokens import ImageTokens

# The storage of weights by the loader's choice; norms, biases, embeddings and the patch projection stay bfloat16, the
# connector and the text projection as they are in their files.
STORAGE = {"default": torch.bfloat16, "fp8_e4m3fn": torch.float8_e4m3fn, "fp8_e5m2": torch.float8_e5m2}

PROJECTIONS = ("connector", "t5_embedder")


class Qwen2VL:
    """Image encoder, connector and text projection of one checkpoint."""

    def __init__(self, name: str, config: Qwen2VLConfig, network: Qwen2VLNetwork, compute_dtype: torch.dtype):
        self.name = name
        self.config = config
        self.network = network.eval().requires_grad_(False)
        self.compute_dtype = compute_dtype
        self.patcher = comfy.model_patcher.CoreModelPatcher(
            network, load_device=mm.text_encoder_device(), offload_device=mm.text_encoder_offload_device()
        )

    def encode(self, image: torch.Tensor, token_budget: int = 0) -> ImageTokens:
        """Tokens of an IMAGE [B, H, W, C] in 0..1, picture by picture; token_budget 0 is the checkpoint's own."""
        pictures = check_picture(image)
        progress = comfy.utils.ProgressBar(len(pictures))
        embeddings = []
        for picture in interruptible(pictures):
            patches, (rows, columns) = patches_of(picture, self.config, token_budget)
            mm.load_models_gpu([self.patcher], memory_required=self._memory(patches.shape[1]))
            patches = patches.to(device=self.patcher.load_device, dtype=self.compute_dtype)
            hidden = self.network(patches, rows, columns)
            embeddings.append(hidden.to(device=mm.intermediate_device(), dtype=mm.intermediate_dtype()))
            progress.update(1)
        merge = self.config.vision.merge
        return ImageTokens(
            embeddings=torch.cat(embeddings),
            grid=(rows // merge, columns // merge),
            picture=image,
            checkpoint=self.name,
        )

    def connect(self, tokens: ImageTokens) -> torch.Tensor:
        """Tokens [B, T, D] as FLUX context [B, T, C] (4096 wide in FLUX.1)."""
        if tokens.checkpoint != self.name:
            raise InputError(
                f"The tokens were made by checkpoint {tokens.checkpoint!r}, and this connector belongs to "
                f"{self.name!r}; use one Load Qwen2VL Encoder for both."
            )
        return self.network.connector(tokens.embeddings.float())

    def project_text(self, text: torch.Tensor) -> torch.Tensor:
        """T5 embeddings [B, L, 4096] as tokens in FLUX's hidden space [B, L, 3072]."""
        expected = self.network.t5_embedder.in_features
        if text.shape[-1] != expected:
            raise InputError(
                f"The text encoder gives {text.shape[-1]} values a token, checkpoint {self.name!r} takes {expected}; "
                "connect the T5-XXL that belongs to it."
            )
        return self.network.t5_embedder(text.float())

    def _memory(self, patches: int) -> int:
        """Bytes of activations for one picture: the widest MLP of each tower, attention inputs, the causal mask."""
        vision, tokens = self.config.vision, patches // self.config.vision.merge**2 + len(self.config.prefix_ids)
        values = patches * (2 * vision.mlp_width + 6 * vision.width)
        values += tokens * (3 * self.config.mlp_width + 8 * self.config.width) + tokens**2
        return values * 4


def load_qwen2vl(folder: Path, weight_dtype: str = "default") -> Qwen2VL:
    """The encoder of a checkpoint folder (its `qwen2-vl` subfolder), weights stored as `weight_dtype` says.

    Raises CheckpointError for missing, unexpected or misshapen weights before any of them is read.
    """
    place = folder / "qwen2-vl"
    config = read_config(place)
    connector = read_linear(place / "connector.pt", inputs=config.width)
    t5_embedder = read_linear(place / "t5_embedder.pt")
    files = open_encoder(place)
    expected = encoder_shapes(config)
    check_layout(files, expected, f"{place.name}/config.json", ignored=UNUSED)
    state = {name: _read(files, name, config, STORAGE[weight_dtype]) for name in expected}
    for projection, linear in zip(PROJECTIONS, (connector, t5_embedder), strict=True):
        state.update({f"{projection}.{name}": value for name, value in linear.items()})
    widths = (connector["weight"].shape[0], tuple(reversed(t5_embedder["weight"].shape)))
    model = Qwen2VLNetwork(config, *widths, comfy.ops.manual_cast, device="meta", dtype=torch.bfloat16)
    model.load_state_dict(state, assign=True)
    mm.archive_model_dtypes(model)
    compute = torch.bfloat16 if mm.should_use_bf16(mm.text_encoder_device()) else torch.float32
    logging.info("Qwen2VL %s: weights %s, computing in %s", plain(folder.name), STORAGE[weight_dtype], compute)
    return Qwen2VL(folder.name, config, model, compute)


def encoder_shapes(config: Qwen2VLConfig) -> dict[str, tuple[int, ...]]:
    """Every tensor that an encoder of this configuration has in its files, with its shape."""
    skeleton = Qwen2VLNetwork(config, 1, (1, 1), torch.nn, device="meta", dtype=torch.bfloat16)
    shapes = {name: tuple(value.shape) for name, value in skeleton.state_dict().items()}
    shapes = {name: shape for name, shape in shapes.items() if not name.startswith(PROJECTIONS)}
    return {**shapes, EMBEDDINGS: (config.vocabulary, config.width)}


def _read(files: WeightFiles, name: str, config: Qwen2VLConfig, storage: torch.dtype) -> torch.Tensor:
    if name == EMBEDDINGS:
        return files.read(name, torch.bfloat16, rows=list(config.prefix_ids))
    matrix = len(files.infos[name].shape) == 2
    return files.read(name, storage if matrix else torch.bfloat16)
