"""Which parameters the published stages train."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from systems.common.errors import InputError

# The FLUX blocks of each published stage: FLUX.1's 19 double blocks are 0 to 18, its 38 single blocks 19 to 56.
STAGES = {
    1: (1, 4, 7, 12, 16, 19, 24, 28, 32, 37, 40, 44, 48, 52, 56),
    2: (0, 3, 6, 9, 14, 16, 21, 26, 30, 34, 39, 42, 46, 50, 54, 56),
    3: (2, 5, 8, 11, 15, 18, 23, 25, 29, 33, 36, 41, 45, 49, 53, 55),
}

# The numbers of double and single blocks of FLUX.1, which the stages are written for.
FLUX1_BLOCKS = (19, 38)

# The layers that train in a block, in diffusers names: queries, keys and values of both streams, the output projections
# of double blocks, and the modulations.
TRAINED = {
    "transformer_blocks": (
        "attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out.0",
        "attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj", "attn.to_add_out",
        "norm1.linear", "norm1_context.linear",
    ),
    "single_transformer_blocks": ("attn.to_q", "attn.to_k", "attn.to_v", "norm.linear"),
}  # fmt: skip

ALWAYS = "context_embedder"
BLOCK = re.compile(r"(transformer_blocks|single_transformer_blocks)\.(\d+)\.(.+)\.(?:weight|bias)")


def stage_blocks(stage: int, double: int, single: int) -> tuple[int, ...]:
    """The blocks of a published stage; InputError for a FLUX with another number of blocks than FLUX.1."""
    if (double, single) != FLUX1_BLOCKS:
        raise InputError(
            f"The published stages are for FLUX.1's {FLUX1_BLOCKS[0]} double and {FLUX1_BLOCKS[1]} single blocks, and "
            f"this checkpoint has {double} and {single}; name its blocks with --blocks, or train them all with "
            "--blocks all."
        )
    return STAGES[stage]


def chosen_blocks(blocks: Collection[int] | None, double: int, single: int) -> Collection[int]:
    """Blocks that somebody named, None for all; InputError for one that the FLUX does not have."""
    beyond = [number for number in blocks or () if number >= double + single]
    if beyond:
        raise InputError(
            f"Block {beyond[0]} should train, and this checkpoint's FLUX has {double + single}, from 0 to "
            f"{double + single - 1}; name only those."
        )
    return range(double + single) if blocks is None else blocks


def flux_names(names: Iterable[str], blocks: Collection[int], double: int) -> set[str]:
    """Those of FLUX's parameters (in diffusers names) that train when `blocks` do; `double` blocks come first."""
    return {name for name in names if _trains(name, blocks, double)}


def _trains(name: str, blocks: Collection[int], double: int) -> bool:
    found = BLOCK.fullmatch(name)
    if not found:
        return name.startswith(f"{ALWAYS}.")
    kind, number, layer = found.groups()
    first = 0 if kind == "transformer_blocks" else double
    return int(number) + first in blocks and layer in TRAINED[kind]


def last_layers(layers: int, count: int) -> range:
    """The numbers of the last `count` of the language model's layers; InputError where it has fewer."""
    if count > layers:
        raise InputError(f"The encoder has {layers} layers, and {count} of them should train; ask for fewer.")
    return range(layers - count, layers)
