"""What the published stages train, name by name."""

from __future__ import annotations

import re

import pytest
import torch
from diffusers import FluxTransformer2DModel

from systems.common.errors import InputError
from training.qwen2vl_flux.networks import read_networks
from training.qwen2vl_flux.stages import STAGES, chosen_blocks, flux_names, last_layers, stage_blocks

PUBLISHED = {
    1: "1 4 7 12 16 19 24 28 32 37 40 44 48 52 56",
    2: "0 3 6 9 14 16 21 26 30 34 39 42 46 50 54 56",
    3: "2 5 8 11 15 18 23 25 29 33 36 41 45 49 53 55",
}
IN_A_DOUBLE_BLOCK = r"attn\.((to|add)_[qkv](_proj)?|to_out\.0|to_add_out)|norm1(_context)?\.linear"
IN_A_SINGLE_BLOCK = r"attn\.to_[qkv]|norm\.linear"


def published_names(names: set[str], stage: int) -> set[str]:
    """The parameters of a stage, said once more by patterns over their names."""
    numbers = [int(number) for number in PUBLISHED[stage].split()]
    double = "|".join(str(number) for number in numbers if number < 19)
    single = "|".join(str(number - 19) for number in numbers if number >= 19)
    patterns = (
        rf"transformer_blocks\.({double})\.({IN_A_DOUBLE_BLOCK})\.(weight|bias)",
        rf"single_transformer_blocks\.({single})\.({IN_A_SINGLE_BLOCK})\.(weight|bias)",
        r"context_embedder\.(weight|bias)",
    )
    return {name for name in names if any(re.fullmatch(pattern, name) for pattern in patterns)}


@pytest.fixture(scope="module")
def flux1() -> dict[str, torch.nn.Parameter]:
    """FLUX.1-dev's parameters, without memory."""
    with torch.device("meta"):
        flux = FluxTransformer2DModel(
            num_layers=19,
            num_single_layers=38,
            attention_head_dim=128,
            num_attention_heads=24,
            joint_attention_dim=4096,
            pooled_projection_dim=768,
            guidance_embeds=True,
        )
    return dict(flux.named_parameters())


@pytest.mark.parametrize("stage", PUBLISHED)
def test_stage_of_flux1(flux1, stage):
    names = flux_names(flux1, stage_blocks(stage, 19, 38), 19)
    assert names == published_names(set(flux1), stage)
    double, single = (sum(number < 19 for number in STAGES[stage]), sum(number > 18 for number in STAGES[stage]))
    assert round(sum(flux1[name].numel() for name in names) / 1e9, 2) == {1: 1.52, 2: 1.71, 3: 1.71}[stage]
    assert len(names) == 2 * (10 * double + 4 * single + 1)  # none of the patterns missed a whole kind
    for apart in ("ff.", "ff_context.", "proj_mlp", "proj_out", "norm_q", "norm_k", "x_embedder", "time_text_embed"):
        assert not any(apart in name for name in names)


def test_stages_are_the_published_lists():
    assert {stage: " ".join(map(str, blocks)) for stage, blocks in STAGES.items()} == PUBLISHED


def test_what_requires_gradients(flux1_like):
    """Of everything that is read from a checkpoint: FLUX's share, the connector, and the last layer of the encoder."""
    stage = 2
    networks = read_networks(flux1_like, lambda *counts: stage_blocks(stage, *counts), 1, torch.bfloat16)
    last = f"qwen.model.layers.{networks.qwen.config.layers - 1}."
    flux = {name.removeprefix("flux.") for name, _ in networks.named_parameters() if name.startswith("flux.")}
    expected = {f"flux.{name}" for name in published_names(flux, stage)} | {"connector.weight", "connector.bias"}
    expected |= {name for name, _ in networks.named_parameters() if name.startswith(last)}
    assert len(expected) > len(last) and set(networks.trainable()) == expected
    for name, value in networks.named_parameters():
        assert value.requires_grad == (name in expected)
        assert value.dtype == (torch.float32 if name in expected else torch.bfloat16)


@pytest.mark.parametrize("layers", [0, 2])
def test_layers_of_the_encoder(demo, layers):
    trained = read_networks(demo, lambda double, single: (), layers).trainable()
    numbers = {int(name.split(".")[3]) for name in trained if name.startswith("qwen.")}
    count = 2
    assert numbers == set(range(count - layers, count))
    assert {name for name in trained if not name.startswith(("qwen.", "flux.context_embedder."))} == {
        "connector.weight",
        "connector.bias",
    }


def test_other_models():
    assert set(chosen_blocks(None, 2, 6)) == set(range(8))
    assert set(chosen_blocks((0, 7), 2, 6)) == {0, 7}
    with pytest.raises(InputError, match=r"^Block 8 should train, and this checkpoint's FLUX has 8, from 0 to 7; name"):
        chosen_blocks((0, 8), 2, 6)
    with pytest.raises(
        InputError, match=r"19 double and 38 single blocks, and this checkpoint has 2 and 6; .*--blocks"
    ):
        stage_blocks(1, 2, 6)
    with pytest.raises(InputError, match=r"^The encoder has 2 layers, and 3 of them should train; ask for fewer\.$"):
        last_layers(2, 3)
