"""Features as colours: their three main directions are red, green and blue."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from representation.encoder import Encoder, read_features
from selfflow.flow import pixel_grid

SATURATED = 0.01  # of the cells, at either end of a colour


@dataclass(frozen=True)
class ColourBasis:
    """Which features have which colour.

    Attributes:
        mean: of the unit vectors of all cells, `(C,)`.
        directions: orthogonal, of unit length, the one with the largest variance first, `(C, 3)`.
        low: of the three coordinates what is black, `(3,)`.
        high: what is fully coloured, `(3,)`.
    """

    mean: Tensor
    directions: Tensor
    low: Tensor
    high: Tensor


@torch.no_grad()
def colour_basis(maps: Sequence[Tensor]) -> ColourBasis:
    """Return the basis of the principal components of feature maps `(B, C, h, w)`.

    Vectors are brought to unit length. A component's sign is the one in which its distribution has
    its longer tail above, so that equal features have equal colours whatever the solver returns. Of
    fewer than three channels, colours that are left over stay black.
    """
    cells = torch.cat([unit_cells(each) for each in maps]).double()
    mean = cells.mean(0)
    centred = cells - mean
    _, directions = torch.linalg.eigh(centred.T @ centred)
    directions = directions.flip(1)[:, :3]
    directions = F.pad(directions, (0, 3 - directions.shape[1]))
    coordinates = centred @ directions
    sign = torch.where(coordinates.pow(3).mean(0) < 0, -1.0, 1.0)
    coordinates = coordinates * sign
    few = int(SATURATED * len(coordinates))
    ordered = coordinates.sort(0).values
    basis = (mean, directions * sign, ordered[few], ordered[len(ordered) - 1 - few])
    return ColourBasis(*(each.float() for each in basis))


def unit_cells(features: Tensor) -> Tensor:
    """Return the cells of a map `(B, C, h, w)` as rows of unit length, `(B·h·w, C)` float32."""
    return F.normalize(features.float(), dim=1).permute(0, 2, 3, 1).flatten(0, 2)


@torch.no_grad()
def colours(features: Tensor, basis: ColourBasis) -> Tensor:
    """Return the colours of a map `(B, C, h, w)`, `(B, 3, h, w)` in [0, 1]."""
    batch, _, height, width = features.shape
    coordinates = (unit_cells(features) - basis.mean) @ basis.directions
    extent = (basis.high - basis.low).clamp_min(1e-12)
    colour = ((coordinates - basis.low) / extent).clamp(0, 1)
    return colour.view(batch, height, width, 3).permute(0, 3, 1, 2)


def at_pixels(maps: Tensor, encoder: Encoder, size: Sequence[int]) -> Tensor:
    """Return what belongs to an encoder's cells, `(B, C, h, w)`, at all pixels of (H, W) images."""
    pixels = pixel_grid(*size, device=maps.device)
    return read_features(maps, pixels, encoder.stride, encoder.offset)
