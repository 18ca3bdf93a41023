"""The moving average of weights, which often does better than the last weights."""

from collections.abc import Sequence

import torch
from torch import Tensor


class WeightAverage:
    """An exponential moving average of parameters, kept beside them.

    Parameters alone: buffers such as the statistics of batch norms stay the network's own.

    Args:
        parameters: what is averaged, in a fixed order; nothing is changed in them but by `apply`.
        decay: of the average a step; near the beginning it is smaller, (1 + n) / (10 + n) at the
            n-th update, so that the first weights do not count for long (as in TensorFlow).
    """

    def __init__(self, parameters: Sequence[Tensor], decay: float) -> None:
        self.parameters = list(parameters)
        self.decay = decay
        self.weights = [parameter.detach().clone() for parameter in self.parameters]

    @torch.no_grad()
    def update(self, number: int) -> None:
        """Take in the parameters after their update `number`, counted from 1."""
        decay = min(self.decay, (1 + number) / (10 + number))
        torch._foreach_lerp_(self.weights, self.parameters, 1 - decay)

    @torch.no_grad()
    def apply(self) -> None:
        """Put the average into the parameters."""
        torch._foreach_copy_(self.parameters, self.weights)

    def state_dict(self) -> list[Tensor]:
        """Return the averages, in the order of the parameters."""
        return self.weights

    @torch.no_grad()
    def load_state_dict(self, state_dict: Sequence[Tensor]) -> None:
        """Go back to a state; ValueError if it is one of other parameters."""
        if [w.shape for w in state_dict] != [w.shape for w in self.weights]:
            raise ValueError("the average is one of other weights")
        for weight, value in zip(self.weights, state_dict, strict=True):
            weight.copy_(value)
