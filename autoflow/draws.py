"""What a sample draws: numbers by purpose, in float64.

Scene parameters are few, so they are drawn and combined in float64 and rounded once. Rounding then
hides that the logarithm of a vector's last elements may differ from that of its first by one unit
in the last place: a sample is the same, bit for bit, in any batch.
"""

import math

import torch
from torch import Tensor

from selfflow.random import bits, integers, purpose, uniform


class Draws:
    """Random numbers for keys of any shape, each asked for by name."""

    def __init__(self, keys: Tensor) -> None:
        self.keys = keys

    def child(self, name: str, count: int) -> "Draws":
        """Return draws for `count` things a key, keys `(*keys.shape, count)`."""
        numbers = torch.arange(count, device=self.keys.device)
        return Draws(purpose(self.keys[..., None], name, numbers))

    def uniform(self, name: str, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Return numbers in [low, high), `(*keys.shape, *shape)`."""
        return low + (high - low) * uniform(purpose(self.keys, name), *shape).double()

    def log_uniform(self, name: str, low: float, high: float) -> Tensor:
        """Return numbers in [low, high] of which equal ratios are equally likely."""
        return self.uniform(name, low=math.log(low), high=math.log(high)).exp()

    def signed(self, name: str, *shape: int) -> Tensor:
        """Return numbers in [-1, 1)."""
        return self.uniform(name, *shape, low=-1.0)

    def normal(self, name: str, *shape: int) -> Tensor:
        """Return standard normal numbers (Box and Muller)."""
        radius = (-2 * torch.log1p(-self.uniform(name + " radius", *shape))).sqrt()
        return radius * torch.cos(2 * math.pi * self.uniform(name + " angle", *shape))

    def chance(self, name: str, probability: float, *shape: int) -> Tensor:
        """Return bool, true with the given probability."""
        return self.uniform(name, *shape) < probability

    def integers(self, name: str, low: int, high: int, *shape: int) -> Tensor:
        """Return integers in [low, high], both ends included."""
        return integers(purpose(self.keys, name), low, high + 1, *shape)

    def bits(self, name: str) -> Tensor:
        """Return 32 random bits, as int64."""
        return bits(purpose(self.keys, name), 1)[..., 0]
