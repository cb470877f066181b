"""What the loop asks of a system: networks, batches of data, and an objective."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor, nn


class Networks(Protocol):
    """A torch module of everything whose weights may train."""

    def trainable(self) -> dict[str, nn.Parameter]:
        """The parameters that train, by name."""
        ...

    def checkpoint_gradients(self) -> None:
        """Compute activations again in the backward pass instead of keeping them."""
        ...

    def parameters(self) -> Iterator[nn.Parameter]:
        """All parameters, frozen ones too."""
        ...


class Batch(Protocol):
    """What one forward pass is given."""

    def to(self, device: torch.device) -> Batch:
        """The same batch on a device."""
        ...


class Batches(Protocol):
    """Deterministic: the same (step, part, rank) gives the same batch, so that resuming needs no random state."""

    def batch(self, step: int, part: int, rank: int) -> Batch:
        """The batch of a step, counted from 0; `part` counts accumulation, `rank` the processes."""
        ...


class Objective(Protocol):
    """What is minimised."""

    def modules(self) -> nn.Module | None:
        """Trainable parts of its own, such as auxiliary heads: saved with the training state, never exported."""
        ...

    def loss(self, networks: Networks, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Scalars: "loss", and figures to log beside it. All randomness comes from the CPU generator."""
        ...
