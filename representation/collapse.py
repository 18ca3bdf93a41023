"""Watching for collapse: a network that maps everything to the same vector has learned nothing."""

import torch.nn.functional as F
from torch import Tensor


def spread(vectors: Tensor) -> Tensor:
    """Return how far normalised vectors `(B, C, H, W)` are spread out, a scalar from 0 to 1.

    The standard deviation of each channel of the unit vectors over batch and positions, times
    sqrt(C), in quadratic mean: sqrt(1 - |mean vector|²). 1 where the vectors point in all
    directions alike, 0 where all of them are the same.
    """
    unit = F.normalize(vectors.detach().float(), dim=1)
    return (1 - unit.mean((0, 2, 3)).square().sum()).clamp_min(0).sqrt()
