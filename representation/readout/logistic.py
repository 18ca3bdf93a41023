"""Logistic regression on frozen features: a linear classifier trained to its optimum."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def fit_logistic(
    features: Tensor, labels: Tensor, classes: int, *, weight_decay: float, steps: int = 200
) -> nn.Linear:
    """Return the linear classifier with the least mean cross-entropy + weight_decay/2 · |W|².

    L-BFGS on all examples at once, from zero: nothing is random. The bias is not decayed.

    Args:
        features: `(N, C)`, standardised by the caller.
        labels: `(N,)` int64.
        classes: how many there are.
        weight_decay: above zero; without, separable classes have no optimum.
        steps: at most so many iterations.
    """
    linear = nn.Linear(features.shape[1], classes).to(features)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    optimizer = torch.optim.LBFGS(
        linear.parameters(), max_iter=steps, history_size=20, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(linear(features), labels)
        loss = loss + weight_decay / 2 * linear.weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return linear.requires_grad_(False)
