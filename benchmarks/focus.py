"""What the focus by attention adds to a step of FLUX: one call with the bias of its keys against one without."""

from __future__ import annotations

from .comfyui import start_comfyui
from .others import in_turns

WIDTH, HEADS, BLOCKS = 1024, 8, (2, 4)
IMAGE_TOKENS, TEXT_TOKENS = 1024, 512


def run() -> str:
    """Ratio of medians, as text."""
    start_comfyui()
    import comfy.ops
    import torch
    from comfy.ldm.flux.model import Flux

    from systems.common.comfy.attention_bias import TokenAttentionBias, log_weights
    from systems.common.comfy.diffusers_flux import FLUX1_AXES

    torch.manual_seed(0)
    flux = Flux(
        in_channels=16, out_channels=16, vec_in_dim=768, context_in_dim=512, hidden_size=WIDTH, mlp_ratio=4.0,
        num_heads=HEADS, depth=BLOCKS[0], depth_single_blocks=BLOCKS[1], axes_dim=FLUX1_AXES, theta=10000,
        patch_size=2, qkv_bias=True, guidance_embed=True, txt_ids_dims=[], operations=comfy.ops.manual_cast,
    ).eval()  # fmt: skip
    for weight in flux.parameters():
        torch.nn.init.normal_(weight, std=0.02)
    side = int(IMAGE_TOKENS**0.5) * 2
    x, timestep, guidance = torch.randn(1, 16, side, side), torch.tensor([0.5]), torch.tensor([3.5])
    context, pooled = torch.randn(1, TEXT_TOKENS, 512), torch.randn(1, 768)
    bias = log_weights(torch.rand(1, TEXT_TOKENS))

    def step(options: dict) -> torch.Tensor:
        with torch.inference_mode():
            return flux(x, timestep, context, pooled, guidance, transformer_options=options)

    taken = in_turns(lambda: step(TokenAttentionBias(bias).among({})), "without it", lambda: step({}))
    tokens = f"{IMAGE_TOKENS} + {TEXT_TOKENS} tokens"
    return f"a step of FLUX under a focus by attention, {WIDTH} wide, {sum(BLOCKS)} blocks, {tokens}: {taken}"
