"""Means of a step's scalars over many steps."""

import torch
from torch import Tensor


class Means:
    """Running means that stay on the device until they are asked for.

    Attributes:
        count: additions since the means were last taken.
    """

    def __init__(self) -> None:
        self.count = 0
        self._sums: dict[str, Tensor] = {}

    def add(self, values: dict[str, Tensor]) -> None:
        """Add one step's scalars, the same names every time."""
        self.count += 1
        for name, value in values.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value

    def take(self) -> dict[str, float]:
        """Return the means and start anew; one transfer from the device."""
        means = torch.stack(list(self._sums.values())) / self.count
        named = dict(zip(self._sums, means.tolist(), strict=True))
        self.count, self._sums = 0, {}
        return named
