"""The parameters that train, with their optimisers and their running average: what an update changes, and what a run
goes on from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from .ema import Ema
from .names import within


class Learner:
    """parameters: those by name that are exported; heads: those of an objective, which are not; optimizers: over
    both, with the learning rates that a schedule multiplies; decay: of the running average of the former, or None."""

    def __init__(
        self,
        parameters: Mapping[str, nn.Parameter],
        heads: Mapping[str, nn.Parameter],
        optimizers: Sequence[Optimizer],
        decay: float | None,
    ):
        self.parameters = parameters
        self.trained = {**parameters, **heads}
        self.optimizers = optimizers
        self.ema = Ema(parameters, decay) if decay else None
        self._rates = [group["lr"] for group in self._groups()]

    @property
    def rate(self) -> float:
        """The learning rate of the first group, as it is now."""
        return self._groups()[0]["lr"]

    def update(self, step: int, factor: float, max_norm: float | None) -> None:
        """Change the weights by their gradients, at `factor` of the learning rates, and forget the gradients."""
        for group, rate in zip(self._groups(), self._rates, strict=True):
            group["lr"] = rate * factor
        if max_norm is not None:
            nn.utils.clip_grad_norm_(self.trained.values(), max_norm)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        if self.ema:
            self.ema.update(step)

    def _groups(self) -> list[dict]:
        """Asked for anew each time: loading a state puts others in their place."""
        return [group for optimizer in self.optimizers for group in optimizer.param_groups]

    def exported(self) -> Mapping[str, Tensor]:
        """The weights that checkpoints and samples show: the running average where there is one."""
        return self.ema.averages if self.ema else self.parameters

    @property
    def is_finite(self) -> bool:
        """Whether all weights are still numbers."""
        return all(bool(value.isfinite().all()) for value in self.trained.values())

    def shown(self) -> AbstractContextManager[None]:
        """The networks hold the exported weights for a while."""
        return self.ema.applied() if self.ema else nullcontext()

    def state(self) -> dict[str, Tensor]:
        """Everything that a run goes on from, by name, without copies."""
        return dict(self._state())

    def _state(self) -> Iterator[tuple[str, Tensor]]:
        for name, value in self.trained.items():
            yield f"weights.{name}", value.detach()
        if self.ema:
            for name, value in self.ema.averages.items():
                yield f"average.{name}", value
        for number, optimizer in enumerate(self.optimizers):
            for index, entries in optimizer.state_dict()["state"].items():
                for name, value in entries.items():
                    yield f"optimizer.{number}.{index}.{name}", value

    @torch.no_grad()
    def load(self, state: Mapping[str, Tensor]) -> None:
        """Put a state in place; KeyError or RuntimeError when it is not of such a learner."""
        for name, value in self.trained.items():
            value.copy_(state[f"weights.{name}"])
        if self.ema:
            for name, value in self.ema.averages.items():
                value.copy_(state[f"average.{name}"])
        for number, optimizer in enumerate(self.optimizers):
            entries: dict[int, dict[str, Tensor]] = {}
            for name, value in within(state, f"optimizer.{number}.").items():
                index, _, entry = name.partition(".")
                entries.setdefault(int(index), {})[entry] = value
            optimizer.load_state_dict({"state": entries, "param_groups": optimizer.state_dict()["param_groups"]})
