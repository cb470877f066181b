"""Random numbers that a step's own numbers decide."""

from __future__ import annotations

import numpy as np
import torch


def generator_for(*numbers: int) -> torch.Generator:
    """A CPU generator that a few whole numbers >= 0 seed, such as (seed, step); noughts at the end do not count."""
    low, high = (int(word) for word in np.random.SeedSequence(numbers).generate_state(2))
    return torch.Generator().manual_seed(low | (high & 0x7FFFFFFF) << 32)
