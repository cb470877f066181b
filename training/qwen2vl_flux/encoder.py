"""Qwen2-VL as transformers has it, giving the hidden states that the pack's own encoder gives."""

from __future__ import annotations

import torch
from accelerate import init_empty_weights
from torch import Tensor, nn
from transformers import Qwen2VLConfig as PublishedConfig
from transformers import Qwen2VLModel

from systems.qwen2vl_flux.checkpoint import Qwen2VLConfig

from .batch import Patches

TOWER, LANGUAGE = "visual.", "model."


class Qwen2VLEncoder(nn.Module):
    """Patches to hidden states at the image tokens [B, T, D], after the final norm.

    As in inference only the text before the image and the image itself run: what follows has no influence on them.
    Parameters carry the names of the files: `visual.*` and `model.*`.
    """

    def __init__(self, config: Qwen2VLConfig):
        super().__init__()
        with init_empty_weights():
            self.visual, self.model = new_parts(config)
        self.config = config

    def forward(self, patches: Patches) -> Tensor:
        merge, device = self.config.vision.merge, patches.values.device
        count = len(patches.values)
        grid = torch.tensor([[1, patches.rows, patches.columns]], device=device).expand(count, -1)
        image = self.visual(patches.values.flatten(0, 1), grid).pooler_output.unflatten(0, (count, -1))
        prefix = self.model.embed_tokens(torch.tensor(self.config.prefix_ids, device=device))
        embeddings = torch.cat((prefix.expand(count, -1, -1), image.to(prefix)), dim=1)
        places = positions(len(prefix), patches.rows // merge, patches.columns // merge).to(device)
        states = self.model(
            inputs_embeds=embeddings, position_ids=places[:, None].expand(-1, count, -1), use_cache=False
        )
        return states.last_hidden_state[:, len(prefix) :]


class PatchEmbedding(nn.Module):
    """The projection of patches [N, values] to [N, width]: published as a convolution whose kernel is a whole patch,
    computed as the product that it is. On a processor the gradient of the former takes nearly half of an update."""

    def __init__(self, proj: nn.Conv3d) -> None:
        super().__init__()
        self.proj = proj

    def forward(self, values: Tensor) -> Tensor:
        return nn.functional.linear(values.to(self.proj.weight.dtype), self.proj.weight.flatten(1))


def new_parts(config: Qwen2VLConfig) -> tuple[nn.Module, nn.Module]:
    """Vision and language model, of random weights."""
    whole = Qwen2VLModel(published_config(config))
    whole.visual.patch_embed = PatchEmbedding(whole.visual.patch_embed.proj)
    return whole.visual, whole.language_model


def published_config(config: Qwen2VLConfig) -> PublishedConfig:
    """transformers' configuration of the same network."""
    vision = config.vision
    return PublishedConfig(
        text_config={
            "model_type": "qwen2_vl_text",
            "hidden_size": config.width,
            "num_hidden_layers": config.layers,
            "num_attention_heads": config.heads,
            "num_key_value_heads": config.kv_heads,
            "intermediate_size": config.mlp_width,
            "rms_norm_eps": config.norm_eps,
            "vocab_size": config.vocabulary,
            "bos_token_id": None,
            "eos_token_id": None,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": config.rope_theta,
                "mrope_section": list(config.rope_sections),
            },
        },
        vision_config={
            "depth": vision.depth,
            "embed_dim": vision.width,
            "hidden_size": config.width,
            "num_heads": vision.heads,
            "mlp_ratio": vision.mlp_width // vision.width,
            "patch_size": vision.patch,
            "temporal_patch_size": vision.temporal_patch,
            "spatial_merge_size": vision.merge,
        },
    )


def positions(prefix: int, rows: int, columns: int) -> Tensor:
    """Multimodal rotary positions [3, prefix + rows * columns]: text counts up, the image goes on by row and column."""
    text = torch.arange(prefix).expand(3, -1)
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    image = torch.stack((torch.zeros_like(y), y, x)).flatten(1) + prefix
    return torch.cat((text, image), dim=1)
