"""The published folder as trainable modules: FLUX, the connector, the encoder and the projection of prompts."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import torch
from accelerate import init_empty_weights
from diffusers import FluxTransformer2DModel
from einops import rearrange
from torch import Tensor, nn

from systems.common.errors import CheckpointError
from systems.common.weights.files import read_json
from systems.common.weights.shards import WeightFiles
from systems.qwen2vl_flux.checkpoint import UNUSED, open_encoder, read_config, read_linear

from ..weights import fill
from .batch import Batch
from .encoder import Qwen2VLEncoder
from .stages import flux_names, last_layers

STEM = "diffusion_pytorch_model"
CLASS = "FluxTransformer2DModel"
PATCH = 2


class Networks(nn.Module):
    """Everything whose weights may train, and the arithmetic between them.

    connector: the encoder's width to FLUX's context; t5_embedder: T5's width to FLUX's hidden size, for prompts;
    qwen: the encoder, for batches that carry patches instead of tokens.
    """

    def __init__(
        self,
        flux: FluxTransformer2DModel,
        connector: nn.Linear,
        t5_embedder: nn.Linear | None = None,
        qwen: Qwen2VLEncoder | None = None,
    ):
        super().__init__()
        self.flux = flux
        self.connector = connector
        self.t5_embedder = t5_embedder
        self.qwen = qwen

    def trainable(self) -> dict[str, nn.Parameter]:
        """The parameters that train, by name: `flux.*`, `connector.*`, `t5_embedder.*`, `qwen.*`."""
        return {name: parameter for name, parameter in self.named_parameters() if parameter.requires_grad}

    def checkpoint_gradients(self) -> None:
        """Compute the activations of FLUX and of the encoder again in the backward pass instead of keeping them."""
        self.flux.enable_gradient_checkpointing()
        if self.qwen is not None:
            self.qwen.model.activation_checkpointing_enable()
            self.qwen.model.disable_input_require_grads()  # else gradients go down through all frozen layers

    def context(self, batch: Batch) -> Tensor:
        """FLUX's context [B, T, C] of a batch's image tokens: focus, then the connector."""
        tokens = batch.tokens if isinstance(batch.tokens, Tensor) else self.qwen(batch.tokens)
        tokens = tokens.to(self.connector.weight.dtype)
        return self.connector(tokens if batch.weights is None else tokens * batch.weights[..., None])

    def prompt(self, batch: Batch) -> Tensor | None:
        """Prompt tokens [B, P, FLUX's hidden size], which join the image tokens behind FLUX's context embedder."""
        return None if batch.prompt is None else self.t5_embedder(batch.prompt.to(self.t5_embedder.weight.dtype))

    def velocity(
        self,
        latents: Tensor,
        time: Tensor,
        context: Tensor,
        pooled: Tensor | None,
        guidance: Tensor | None,
        prompt: Tensor | None = None,
        control: Sequence[Tensor] | None = None,
    ) -> Tensor:
        """What FLUX predicts for noisy latents [B, 16, h, w]: noise minus image, of the same shape.

        time [B] is 0 for the image and 1 for noise; pooled [B, P] or None for zeros; guidance [B], which a FLUX
        without guidance embedding does not read; control: what a ControlNet adds to the double blocks' image tokens
        [B, patches, hidden], spread over them evenly.
        """
        rows, columns = (edge // PATCH for edge in latents.shape[-2:])
        extra = 0 if prompt is None else prompt.shape[1]
        config = self.flux.config
        if pooled is None:
            pooled = latents.new_zeros(len(latents), config.pooled_projection_dim)
        with appended(self.flux.context_embedder, prompt):
            packed = self.flux(
                hidden_states=packed_latents(latents),
                encoder_hidden_states=context,
                pooled_projections=pooled,
                timestep=time,
                guidance=guidance if config.guidance_embeds else None,
                img_ids=image_ids(rows, columns, latents.device),
                txt_ids=torch.zeros(context.shape[1] + extra, 3, device=latents.device),
                controlnet_block_samples=control,
                return_dict=False,
            )[0]
        return rearrange(packed, "b (h w) (c p q) -> b c (h p) (w q)", h=rows, w=columns, p=PATCH, q=PATCH)


def packed_latents(latents: Tensor) -> Tensor:
    """Latents [B, 16, h, w] as FLUX's tokens [B, h/2 * w/2, 64]."""
    return rearrange(latents, "b c (h p) (w q) -> b (h w) (c p q)", p=PATCH, q=PATCH)


@contextmanager
def appended(layer: nn.Module, tokens: Tensor | None) -> Iterator[None]:
    """What a layer gives [B, T, D] has tokens [B, P, D] behind it; None changes nothing."""
    if tokens is None:
        yield
        return
    hook = layer.register_forward_hook(lambda module, inputs, made: torch.cat((made, tokens.to(made)), dim=1))
    try:
        yield
    finally:
        hook.remove()


@lru_cache(maxsize=32)
def image_ids(rows: int, columns: int, device: torch.device) -> Tensor:
    """FLUX's positions [rows * columns, 3] of latent patches: 0, row, column."""
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    return torch.stack((torch.zeros_like(y), y, x), dim=-1).flatten(0, 1).float().to(device)


# ---- from a checkpoint folder ----------------------------------------------------------------------------------------


def read_networks(
    checkpoint: Path,
    blocks: Callable[[int, int], Collection[int]],
    qwen_layers: int = 0,
    frozen_dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Networks:
    """The networks of a published folder, of which the named FLUX blocks, the connector and the last `qwen_layers`
    of the encoder train.

    blocks: from the numbers of double and single blocks to those that train, numbered through. What trains is held in
    float32, everything else frozen in `frozen_dtype`; weights go to `device` one by one. Raises CheckpointError for
    missing, unexpected or misshapen tensors before any of them is read.
    """
    place = checkpoint / "qwen2-vl"
    flux = _read_flux(checkpoint / "flux" / "transformer", blocks, frozen_dtype, device)
    qwen = _read_encoder(place, qwen_layers, frozen_dtype, device)
    connector = _linear(read_linear(place / "connector.pt", inputs=qwen.config.width)).requires_grad_(True)
    _check_width(place / "connector.pt", connector, flux.config.joint_attention_dim)
    t5_embedder = _linear(read_linear(place / "t5_embedder.pt")).to(frozen_dtype)
    _check_width(place / "t5_embedder.pt", t5_embedder, flux.inner_dim)
    return Networks(flux, connector, t5_embedder, qwen)


def _read_flux(
    place: Path, blocks: Callable[[int, int], Collection[int]], frozen_dtype: torch.dtype, device: torch.device | str
) -> FluxTransformer2DModel:
    config = read_json(place / "config.json")
    if config.get("_class_name") != CLASS:
        raise CheckpointError(
            f"{place / 'config.json'} describes a {config.get('_class_name')!r}, not a {CLASS}; put the checkpoint's "
            "own flux/transformer folder there."
        )
    with init_empty_weights():
        flux = FluxTransformer2DModel.from_config(config)
    double, single = len(flux.transformer_blocks), len(flux.single_transformer_blocks)
    trained = flux_names(flux.state_dict(), blocks(double, single), double)
    fill(flux, WeightFiles(place, STEM), "transformer/config.json", trained, frozen_dtype, device)
    return flux


def _read_encoder(place: Path, layers: int, frozen_dtype: torch.dtype, device: torch.device | str) -> Qwen2VLEncoder:
    encoder = Qwen2VLEncoder(read_config(place))
    trained = tuple(f"model.layers.{number}." for number in last_layers(encoder.config.layers, layers))
    names = {name for name in encoder.state_dict() if name.startswith(trained)}
    fill(encoder, open_encoder(place), "qwen2-vl/config.json", names, frozen_dtype, device, UNUSED)
    return encoder


def _linear(state: dict[str, Tensor]) -> nn.Linear:
    layer = nn.Linear(*reversed(state["weight"].shape))
    layer.load_state_dict({name: value.float() for name, value in state.items()})
    return layer.requires_grad_(False)


def _check_width(path: Path, layer: nn.Linear, width: int) -> None:
    if layer.out_features != width:
        raise CheckpointError(
            f"{path} gives {layer.out_features} values a token, and the transformer takes {width}; take both from one "
            "checkpoint."
        )
