"""Muon (https://kellerjordan.github.io/posts/muon/) for many small matrices."""

from __future__ import annotations

from collections import defaultdict

import torch
from torch import Tensor
from torch.optim._muon import _adjust_lr


class Muon(torch.optim.Muon):
    """torch's Muon, but for the order of work: all matrices of one shape are made orthogonal in one product, which
    takes a third of the time where matrices are small. Steps are Nesterov's."""

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """Change every parameter that has a gradient."""
        for group in self.param_groups:
            alike: dict[torch.Size, list[Tensor]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    alike[parameter.shape].append(parameter)
            for parameters in alike.values():
                self._step(parameters, group)

    def _step(self, parameters: list[Tensor], group: dict) -> None:
        """One step of parameters of one shape."""
        for parameter in parameters:
            if not self.state[parameter]:
                self.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        momenta = [self.state[parameter]["momentum_buffer"] for parameter in parameters]
        gradients = [parameter.grad for parameter in parameters]
        torch._foreach_lerp_(momenta, gradients, 1 - group["momentum"])
        ahead = torch.stack(gradients).lerp(torch.stack(momenta), group["momentum"])
        steps = orthogonal(ahead, group["ns_coefficients"], group["ns_steps"], group["eps"]).to(parameters[0].dtype)
        rate = _adjust_lr(group["lr"], group["adjust_lr_fn"], parameters[0].shape)
        torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_add_(parameters, list(steps), alpha=-rate)


def orthogonal(matrices: Tensor, coefficients: tuple[float, float, float], steps: int, eps: float) -> Tensor:
    """Matrices [N, rows, columns] with singular values near 1, by Newton's and Schulz's iteration in bfloat16."""
    tall = matrices.shape[1] > matrices.shape[2]
    made = matrices.bfloat16()
    if tall:
        made = made.mT
    made = made / made.norm(dim=(1, 2), keepdim=True).clamp(min=eps)
    a, b, c = coefficients
    for _ in range(steps):
        gram = made @ made.mT
        made = torch.baddbmm(made, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), made, beta=a)
    return made.mT if tall else made
