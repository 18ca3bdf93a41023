"""LARS: layer-wise adaptive learning rates (You, Gitman and Ginsburg, 2017), in BYOL's order."""

from collections.abc import Callable, Iterable
from typing import Any, overload

import torch
from torch import Tensor
from torch.optim import Optimizer


class Lars(Optimizer):
    """SGD with momentum whose steps are scaled to the size of each weight tensor.

    For each parameter p with gradient g, in this order (as in BYOL's code):

        g = g + weight_decay · p
        g = trust · |p| / |g| · g      unless |p| or |g| is zero
        buffer = momentum · buffer + g
        p = p - lr · buffer

    A group with `adapt=False` skips the first two lines: plain SGD with momentum, for biases and
    normalisation. It is an own flag, so that a weight decay of zero doesn't turn LARS off.
    """

    def __init__(
        self,
        params: Iterable[dict[str, Any]] | Iterable[Tensor],
        lr: float,
        *,
        momentum: float = 0.9,
        weight_decay: float = 1e-6,
        trust: float = 1e-3,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "weight_decay": weight_decay,
            "trust": trust,
            "adapt": True,
        }
        super().__init__(params, defaults)

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Update all parameters that have a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if parameters:
                self._update(parameters, group)
        return loss

    def _update(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        gradients = [p.grad for p in parameters if p.grad is not None]
        if group["adapt"]:
            gradients = list(torch._foreach_add(gradients, parameters, alpha=group["weight_decay"]))
            sizes = torch._foreach_norm(parameters)
            steepness = torch._foreach_norm(gradients)
            ratios = [
                torch.where((w > 0) & (g > 0), group["trust"] * w / g, 1.0)
                for w, g in zip(sizes, steepness, strict=True)
            ]
            torch._foreach_mul_(gradients, ratios)
        for parameter in parameters:
            if "momentum_buffer" not in self.state[parameter]:
                self.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        buffers = [self.state[p]["momentum_buffer"] for p in parameters]
        torch._foreach_mul_(buffers, group["momentum"])
        torch._foreach_add_(buffers, gradients)
        torch._foreach_add_(parameters, buffers, alpha=-group["lr"])
