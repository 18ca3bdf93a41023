"""Correlation of all pairs of features, read in a window around a position (RAFT, section 3.2).

Average pooling is linear, so the pooled levels of the correlation volume are the correlations with
pooled features. Both lookups rest on that: `AllPairs` holds the volume, `OnDemand` holds only the
features and computes a few rows of the volume at a time. They agree up to rounding.

The offsets of a window are whole pixels, so all its points lie at the same place within a cell:
one patch of (2 radius + 2)² values is read and blended once, instead of four values per point.
Points outside the frame read zero, and so does whatever lies beyond it.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

LEVELS = 4
SMALLEST_SIDE = 2 ** (LEVELS - 1)  # features below this leave nothing to read at the last level
CHUNK_BYTES = 64 * 2**20  # of the volume, computed at a time when it is not held


@dataclass(frozen=True)
class Windows:
    """Where windows around positions lie in a feature pyramid.

    N positions, L levels, S = 2 radius + 2 cells along a side of the patch that is read.

    Attributes:
        cells: `(B, N, L, S * S)` long, cells of the flattened pyramid, x before y.
        inside: `(B, N, L, S, S)` bool, which cells exist (the others point anywhere).
        fraction: `(B, N, L, 2)`, the position within its cell, x then y.
    """

    cells: Tensor
    inside: Tensor
    fraction: Tensor

    def blend(self, patches: Tensor) -> Tensor:
        """Blend `patches` `(B, N, L, S * S)` to windows `(B, N, L * (S - 1)²)`, x before y."""
        patches = patches.view(self.inside.shape) * self.inside
        x, y = self.fraction[..., None, None].unbind(-3)
        columns = torch.lerp(patches[..., :-1, :], patches[..., 1:, :], x)
        return torch.lerp(columns[..., :-1], columns[..., 1:], y).flatten(2)

    def narrow(self, start: int, length: int) -> "Windows":
        """Return `length` of the N positions."""
        cells, inside, fraction = (
            part.narrow(1, start, length) for part in (self.cells, self.inside, self.fraction)
        )
        return Windows(cells, inside, fraction)


def pyramid_sizes(height: int, width: int) -> list[tuple[int, int]]:
    """Return height and width of each level of the pyramid."""
    return [(height >> level, width >> level) for level in range(LEVELS)]


def flat_pyramid(features: Tensor) -> Tensor:
    """Pool features `(B, C, h, w)` and return the cells of all levels, `(B, cells, C)`."""
    levels = [features]
    while len(levels) < LEVELS:
        levels.append(F.avg_pool2d(levels[-1], 2))
    return torch.cat([level.flatten(2) for level in levels], -1).transpose(1, 2)


def windows(positions: Tensor, radius: int) -> Windows:
    """Find the windows around `positions` `(B, 2, h, w)`, feature pixels of a frame of that size.

    A window's point at x, y in level l is read at position / 2^l + (x, y), x and y whole numbers
    from -radius to radius.
    """
    height, width = positions.shape[-2:]
    sizes = pyramid_sizes(height, width)
    heights, widths = torch.tensor(sizes, device=positions.device).T[:, :, None]
    starts = torch.cumsum(heights * widths, 0) - heights * widths
    scales = 2.0 ** -torch.arange(LEVELS, device=positions.device)
    placed = positions.flatten(2).transpose(1, 2)[:, :, None] * scales[:, None]  # (B, N, L, 2)
    corner = placed.floor()
    steps = torch.arange(-radius, radius + 2, device=positions.device)
    x, y = (corner.long()[..., None] + steps).unbind(-2)  # (B, N, L, S) each
    inside_x = (x >= 0) & (x < widths)
    inside_y = (y >= 0) & (y < heights)
    row = torch.where(inside_y, starts + y * widths, starts)
    column = torch.where(inside_x, x, 0)
    return Windows(
        cells=(column[..., :, None] + row[..., None, :]).flatten(3),
        inside=inside_x[..., :, None] & inside_y[..., None, :],
        fraction=placed - corner,
    )


@dataclass(frozen=True)
class AllPairs:
    """A correlation volume that is held in memory.

    Attributes:
        fine: `(B, N, N)` correlations of each feature with each of the other frame.
        coarse: `(B, N, cells)` correlations with the pooled levels of the other frame.
        radius: of the window that is read.
    """

    fine: Tensor
    coarse: Tensor
    radius: int

    def lookup(self, positions: Tensor) -> Tensor:
        """Read the windows around `positions` `(B, 2, h, w)`, `(B, L * (2 radius + 1)², h, w)`."""
        place = windows(positions, self.radius)
        fine = self.fine.gather(2, place.cells[:, :, 0])
        coarse = self.coarse.gather(2, place.cells[:, :, 1:].flatten(2) - self.fine.shape[2])
        return _as_maps(place.blend(torch.cat((fine, coarse), -1)), positions)


@dataclass(frozen=True)
class OnDemand:
    """Features of a volume that is computed row by row, in every lookup anew.

    On two cores a row by matrix product costs less than gathering the features of its windows.

    Attributes:
        queries: `(B, N, C)` features of one frame.
        keys: `(B, cells, C)` features of the other frame at all levels.
        radius: of the window that is read.
    """

    queries: Tensor
    keys: Tensor
    radius: int

    def lookup(self, positions: Tensor) -> Tensor:
        """Read the windows around `positions` `(B, 2, h, w)`, `(B, L * (2 radius + 1)², h, w)`."""
        place = windows(positions, self.radius)
        batch, cells, _ = self.keys.shape
        rows = max(CHUNK_BYTES // (batch * cells * self.keys.element_size()), 1)
        parts = []
        for start in range(0, self.queries.shape[1], rows):
            length = min(rows, self.queries.shape[1] - start)
            queries = self.queries.narrow(1, start, length)
            # Checkpointed: kept for the gradient, all rows together would fill the memory.
            parts.append(
                checkpoint(self._read, queries, place.narrow(start, length), use_reentrant=False)
            )
        return _as_maps(torch.cat(parts, 1), positions)

    def _read(self, queries: Tensor, place: Windows) -> Tensor:
        volume = queries @ self.keys.transpose(1, 2)
        return place.blend(volume.gather(2, place.cells.flatten(2)))


Correlation = AllPairs | OnDemand


def correlate(
    features1: Tensor, features2: Tensor, radius: int, *, volume_bytes: int, both: bool = False
) -> list[Correlation]:
    """Correlate features `(B, C, h, w)` of two frames: [1 with 2], with `both` also [2 with 1].

    Correlation is the inner product over sqrt(C). The volume is held in memory, once for both
    directions, if it takes at most `volume_bytes`; otherwise correlations are computed on demand.
    """
    batch, channels, height, width = features1.shape
    count = height * width
    scaled1, scaled2 = (f * channels**-0.5 for f in (features1, features2))
    queries1, queries2 = (f.flatten(2).transpose(1, 2) for f in (scaled1, scaled2))
    keys2 = flat_pyramid(features2)
    coarse = keys2.shape[1] - count
    size = batch * count * (count + coarse * (1 + both)) * features1.element_size()
    if size > volume_bytes:
        forward: Correlation = OnDemand(queries1, keys2, radius)
        return [forward, OnDemand(queries2, flat_pyramid(features1), radius)] if both else [forward]
    volume = queries1 @ keys2[:, :count].transpose(1, 2)
    pooled = queries1 @ keys2[:, count:].transpose(1, 2)
    forward = AllPairs(volume, pooled, radius)
    if not both:
        return [forward]
    pooled = queries2 @ flat_pyramid(features1)[:, count:].transpose(1, 2)
    return [forward, AllPairs(volume.transpose(1, 2), pooled, radius)]


def _as_maps(values: Tensor, positions: Tensor) -> Tensor:
    """Lay `values` `(B, h * w, C)` out as maps `(B, C, h, w)` in channels-last memory."""
    return values.transpose(1, 2).unflatten(2, positions.shape[-2:])
