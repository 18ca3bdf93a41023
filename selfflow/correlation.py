"""Correlation of all pairs of features, read in a window around a position (RAFT, section 3.2).

Average pooling is linear, so the pooled levels of the correlation volume are the correlations with
pooled features. Both lookups rest on that: `AllPairs` holds the volume, `OnDemand` holds only the
features and computes a few rows of the volume at a time. They agree up to rounding.

The offsets of a window are whole pixels, so all its points lie at the same place within a cell:
one patch of (2 radius + 2)² values is read and blended once, instead of four values per point.
Points outside the frame read zero. In all tensors the N positions come last, so that every step of
the blending runs along contiguous memory.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

LEVELS = 4
SMALLEST_SIDE = 2 ** (LEVELS - 1)  # features below this leave nothing to read at the last level
CHUNK_BYTES = 32 * 2**20  # of the volume, computed at a time when it is not held


@dataclass(frozen=True)
class Windows:
    """Where windows around N positions lie in the L levels of a feature pyramid.

    S = 2 radius + 2 is the side of the patch of cells that is read. A cell that does not exist has
    weight zero, and its number points to any other.

    Attributes:
        cells: `(B, L, S, S, N)` long, x before y; numbers within level 0, else within all other
            levels, one after the other.
        x: `(2, B, L, S - 1, 1, N)`, weights of the left and the right cell.
        y: `(2, B, L, 1, S - 1, N)`, weights of the upper and the lower cell.
    """

    cells: Tensor
    x: Tensor
    y: Tensor

    def blend(self, patches: Tensor) -> Tensor:
        """Blend `patches` `(B, L, S, S, N)` to windows `(B, L, S - 1, S - 1, N)`."""
        columns = (patches[:, :, :-1] * self.x[0]).addcmul_(patches[:, :, 1:], self.x[1])
        return (columns[:, :, :, :-1] * self.y[0]).addcmul_(columns[:, :, :, 1:], self.y[1])

    def spread(self, windows: Tensor) -> Tensor:
        """The transpose of `blend`: windows `(B, L, S - 1, S - 1, N)` to patches."""
        batch, levels, side, _, count = windows.shape
        columns = windows.new_empty(batch, levels, side, side + 1, count)
        torch.mul(windows, self.y[0], out=columns[:, :, :, :-1])
        columns[:, :, :, -1] = 0
        columns[:, :, :, 1:].addcmul_(windows, self.y[1])
        patches = windows.new_empty(batch, levels, side + 1, side + 1, count)
        torch.mul(columns, self.x[0], out=patches[:, :, :-1])
        patches[:, :, -1] = 0
        patches[:, :, 1:].addcmul_(columns, self.x[1])
        return patches


def flat_pyramid(features: Tensor) -> tuple[Tensor, Tensor]:
    """Pool features `(B, C, h, w)`; return level 0 and the others, `(B, C, cells)` each."""
    pooled = [F.avg_pool2d(features, 2)]
    while len(pooled) < LEVELS - 1:
        pooled.append(F.avg_pool2d(pooled[-1], 2))
    return features.flatten(2), torch.cat([level.flatten(2) for level in pooled], -1)


def windows(positions: Tensor, radius: int, height: int, width: int) -> Windows:
    """Find the windows around `positions` `(B, 2, N)` in features of a frame of that size.

    A window's point at x, y in level l is read at position / 2^l + (x, y), x and y whole numbers
    from -radius to radius.
    """
    device = positions.device
    shrunk = 2 ** torch.arange(LEVELS, device=device)
    heights, widths = height // shrunk, width // shrunk
    starts = torch.cumsum(heights * widths, 0) - heights * widths - height * width
    starts[0] = 0
    steps = torch.arange(-radius, radius + 2, device=device)
    cells, weights = [], []
    for position, sides in zip(positions.unbind(1), (widths, heights), strict=True):
        placed = position[:, None] / shrunk.view(-1, 1)  # (B, L, N)
        corner = placed.floor()
        cell = corner.long()[:, :, None] + steps.view(-1, 1)  # (B, L, S, N)
        exists = (cell >= 0) & (cell < sides.view(-1, 1, 1))
        fraction = (placed - corner)[:, :, None]
        weights.append(torch.stack((1 - fraction, fraction)) * _neighbours(exists))
        cells.append(torch.where(exists, cell, 0))
    x, y = cells
    row = y * widths.view(-1, 1, 1) + starts.view(-1, 1, 1)
    return Windows(
        cells=x[:, :, :, None] + row[:, :, None],
        x=weights[0][:, :, :, :, None],
        y=weights[1][:, :, :, None],
    )


def _neighbours(exists: Tensor) -> Tensor:
    """Stack each cell `(B, L, S, N)` but the last with the one after it."""
    return torch.stack((exists[:, :, :-1], exists[:, :, 1:]))


class _Read(torch.autograd.Function):
    """Read windows from a volume, and pass the volume on to whoever reads it next.

    Passed on from reader to reader, its gradient is summed up in one buffer on the way back.
    Otherwise each reader would make a gradient of the volume's size, mostly zeros.
    """

    @staticmethod
    def forward(
        ctx: Any, fine: Tensor, coarse: Tensor, cells: Tensor, x: Tensor, y: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(cells, x, y)
        # The gradient lies in memory as the volume does.
        ctx.layouts = [(volume.shape, volume.stride()) for volume in (fine, coarse)]
        patches = torch.cat(
            [
                volume.gather(1, part.flatten(1, -2)).view(part.shape)
                for volume, part in zip((fine, coarse), _fine_and_coarse(cells), strict=True)
            ],
            1,
        )
        return Windows(cells, x, y).blend(patches), fine, coarse

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, windows: Tensor, *volumes: Tensor | None) -> tuple[Tensor | None, ...]:
        cells, x, y = ctx.saved_tensors
        patches = Windows(cells, x, y).spread(windows)
        summed = []
        parts = zip(
            volumes, ctx.layouts, _fine_and_coarse(cells), _fine_and_coarse(patches), strict=True
        )
        for volume, layout, part, values in parts:
            # Nobody else holds the gradient that comes from the next reader.
            total = windows.new_empty_strided(*layout).zero_() if volume is None else volume
            summed.append(total.scatter_add_(1, part.flatten(1, -2), values.flatten(1, -2)))
        return *summed, None, None, None


def _fine_and_coarse(values: Tensor) -> tuple[Tensor, Tensor]:
    """Split `(B, L, ...)` into level 0 and the others."""
    return values[:, :1], values[:, 1:]


@dataclass(frozen=True)
class AllPairs:
    """A correlation volume that is held in memory.

    Attributes:
        fine: `(B, cells, N)`, correlations of N features with the other frame's level 0.
        coarse: `(B, cells, N)`, with its other levels.
    """

    fine: Tensor
    coarse: Tensor

    def read(self, place: Windows) -> tuple[Tensor, "AllPairs"]:
        """Return the windows `(B, L, S - 1, S - 1, N)` and the volume to read from next."""
        values, fine, coarse = _Read.apply(self.fine, self.coarse, place.cells, place.x, place.y)
        return values, AllPairs(fine, coarse)


@dataclass(frozen=True)
class OnDemand:
    """Features whose correlations are computed, a few rows of the volume at a time, when read.

    On two cores a row by matrix product costs less than gathering the features of its windows.

    Attributes:
        queries: `(B, C, N)`, features of one frame.
        fine: `(B, C, cells)`, features of the other frame at level 0.
        coarse: `(B, C, cells)`, at its other levels.
    """

    queries: Tensor
    fine: Tensor
    coarse: Tensor

    def read(self, place: Windows) -> tuple[Tensor, "OnDemand"]:
        """Return the windows `(B, L, S - 1, S - 1, N)` and what to read from next."""
        batch = len(self.queries)
        cells = self.fine.shape[2] + self.coarse.shape[2]
        columns = max(CHUNK_BYTES // (batch * cells * self.queries.element_size()), 1)
        chunks = (part.split(columns, -1) for part in (self.queries, place.cells, place.x, place.y))
        # Checkpointed: kept for the gradient, all rows together would fill the memory.
        parts = [
            checkpoint(self._read, *chunk, use_reentrant=False)
            for chunk in zip(*chunks, strict=True)
        ]
        return torch.cat(parts, -1), self

    def _read(self, queries: Tensor, cells: Tensor, x: Tensor, y: Tensor) -> Tensor:
        fine, coarse = (keys.transpose(1, 2) @ queries for keys in (self.fine, self.coarse))
        return AllPairs(fine, coarse).read(Windows(cells, x, y))[0]


@dataclass(frozen=True)
class Correlation:
    """The correlation of each feature of one frame with those of the other, ready to be read.

    Attributes:
        source: what the values are read from.
        size: height and width of the features.
        radius: of the window that is read.
    """

    source: AllPairs | OnDemand
    size: tuple[int, int]
    radius: int

    def lookup(self, positions: Tensor) -> tuple[Tensor, "Correlation"]:
        """Read the windows around `positions` `(B, 2, h, w)`, feature pixels of the other frame.

        Returns the values `(B, L * (2 radius + 1)², h, w)` and the correlation to read from next.
        No gradient flows to the positions.
        """
        place = windows(positions.detach().flatten(2), self.radius, *self.size)
        values, source = self.source.read(place)
        maps = values.flatten(1, 3).unflatten(2, self.size)
        return maps, Correlation(source, self.size, self.radius)


def volume_numbers(batch: int, height: int, width: int, *, both: bool) -> int:
    """Return how many numbers the correlation volume of features of that size has."""
    coarse = sum((height >> level) * (width >> level) for level in range(1, LEVELS))
    return batch * height * width * (height * width + (1 + both) * coarse)


def correlate(
    features1: Tensor, features2: Tensor, radius: int, *, volume_bytes: int, both: bool = False
) -> list[Correlation]:
    """Correlate features `(B, C, h, w)` of two frames: [1 with 2], with `both` also [2 with 1].

    Correlation is the inner product over sqrt(C). The volume is held in memory, once for both
    directions, if it takes at most `volume_bytes`; otherwise correlations are computed on demand.
    """
    batch, channels, height, width = features1.shape
    fine1, coarse1 = flat_pyramid(features1 * channels**-0.25)
    fine2, coarse2 = flat_pyramid(features2 * channels**-0.25)
    numbers = volume_numbers(batch, height, width, both=both)
    if numbers * features1.element_size() > volume_bytes:
        sources: list[AllPairs | OnDemand] = [OnDemand(fine1, fine2, coarse2)]
        if both:
            sources.append(OnDemand(fine2, fine1, coarse1))
    else:
        # In memory, the cells of a window lie side by side, for one direction's level 0 at least.
        volume, coarse = (
            (fine1.transpose(1, 2) @ level).transpose(1, 2) for level in (fine2, coarse2)
        )
        sources = [AllPairs(volume, coarse)]
        if both:
            coarse = (fine2.transpose(1, 2) @ coarse1).transpose(1, 2)
            sources.append(AllPairs(volume.transpose(1, 2), coarse))
    return [Correlation(source, (height, width), radius) for source in sources]
