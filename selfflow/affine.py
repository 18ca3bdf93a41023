"""Affine maps of the plane, `(B, 2, 3)`: from positions in one image to those in another.

A map takes the point (x, y), in pixels, to `map[:, :, :2] @ (x, y) + map[:, :, 2]`. Sums of
products are written out: matrix products would be rounded to half precision under autocast, which
is far too coarse for positions.
"""

import torch
from torch import Tensor


def identity(batch: int, *, device: torch.device | str | None = None) -> Tensor:
    """Return the map that leaves every point where it is, `(batch, 2, 3)`."""
    return torch.eye(2, 3, device=device).expand(batch, 2, 3)


def similarity(scale: Tensor, angle: Tensor, centre: Tensor) -> Tensor:
    """Return the map that scales and turns about a fixed point, `(B, 2, 3)`.

    Args:
        scale: factor on distances, `(B,)`.
        angle: radians, from the x axis towards the y axis (clockwise on a screen), `(B,)`.
        centre: the fixed point, `(2,)` or `(B, 2)`, x then y.
    """
    cos, sin = scale * angle.cos(), scale * angle.sin()
    x, y = centre.expand(len(scale), 2).unbind(1)
    first = torch.stack((cos, -sin, x - (cos * x - sin * y)), 1)
    second = torch.stack((sin, cos, y - (sin * x + cos * y)), 1)
    return torch.stack((first, second), 1)


def apply(affine: Tensor, positions: Tensor) -> Tensor:
    """Return where a map takes `positions` `(B or 1, 2, H, W)`, `(B, 2, H, W)`."""
    x, y = positions[:, :1], positions[:, 1:]
    matrix = affine[..., None, None]
    return matrix[:, :, 0] * x + matrix[:, :, 1] * y + matrix[:, :, 2]


def chain(first: Tensor, second: Tensor) -> Tensor:
    """Return the map that applies `first`, then `second`."""
    linear = (second[:, :, :2, None] * first[:, None, :, :2]).sum(2)
    offset = (second[:, :, :2] * first[:, None, :, 2]).sum(2) + second[:, :, 2]
    return torch.cat((linear, offset[..., None]), 2)


def invert(affine: Tensor) -> Tensor:
    """Return the inverse maps."""
    (a, b, x), (c, d, y) = (row.unbind(1) for row in affine.unbind(1))
    rows = (torch.stack((d, -b, b * y - d * x), 1), torch.stack((-c, a, c * x - a * y), 1))
    return torch.stack(rows, 1) / (a * d - b * c)[:, None, None]
