"""From a mask's pixels to an encoder's cells and back.

Both directions are separable: values are read at positions along rows, then along columns.

Where a cell lies decides where its label is read and where it is drawn. An encoder's cells are
centred on pixel stride · i + offset (see `representation.encoder`), with offset 0 in a ResNet. The
codes of CRW, DINO and TimeCycle resize label maps as pictures instead, with cells on the middle of
stride x stride pixels: right for networks that cut images into patches, (stride - 1) / 2 px off for
a ResNet. What is read off there is drawn off there, so that most of it cancels where things
move as a whole. `Cells.aligned` is the first, `Cells.spread` the second.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Reading = Literal["nearest", "bilinear"]
Size = tuple[int, int]  # height, width


@dataclass(frozen=True)
class Cells:
    """A grid of cells in an image of `size`; cell i is centred on pixel `scale` · i + `offset`.

    Attributes:
        shape: how many cells, down and across.
        size: of the image that the encoder sees.
        scales: px from a cell to the next, down and across.
        offsets: px, likewise.
    """

    shape: Size
    size: Size
    scales: tuple[float, float]
    offsets: tuple[float, float]

    @classmethod
    def aligned(cls, shape: Size, size: Size, stride: int, offset: float) -> "Cells":
        """Return the cells of an encoder where they are."""
        return cls(shape, size, (stride, stride), (offset, offset))

    @classmethod
    def spread(cls, shape: Size, size: Size) -> "Cells":
        """Return cells that share the image evenly, as functions that resize pictures see them."""
        scales = size[0] / shape[0], size[1] / shape[1]
        return cls(shape, size, scales, ((scales[0] - 1) / 2, (scales[1] - 1) / 2))

    def read(self, labels: Tensor, reading: Reading) -> Tensor:
        """Return labels `(K, H, W)` at the cells, `(K, h, w)`; they may differ in size from `size`.

        Beyond the outermost pixels' centres the nearest pixel is read.
        """
        weights = []
        for axis, (count, given) in enumerate(zip(self.shape, labels.shape[-2:], strict=True)):
            centres = torch.arange(count, dtype=torch.float64) * self.scales[axis]
            centres = centres + self.offsets[axis]
            centres = (centres + 0.5) * given / self.size[axis] - 0.5
            weights.append(reading_weights(centres, given, reading).to(labels))
        return weights[0] @ labels @ weights[1].T

    def draw(self, maps: Tensor, size: Size) -> Tensor:
        """Return maps `(K, h, w)` at all pixels of an image of `size`, bilinearly, `(K, H, W)`.

        Beyond the outermost cells' centres the nearest cell is read.
        """
        weights = []
        for axis, wanted in enumerate(size):
            pixels = (torch.arange(wanted, dtype=torch.float64) + 0.5) * self.size[axis]
            pixels = pixels / wanted - 0.5
            cells = (pixels - self.offsets[axis]) / self.scales[axis]
            weights.append(reading_weights(cells, self.shape[axis], "bilinear").to(maps))
        return weights[0] @ maps @ weights[1].T


def reading_weights(positions: Tensor, count: int, reading: Reading) -> Tensor:
    """Return what each of `count` values weighs where a line of them is read, `(N, count)`.

    Args:
        positions: `(N,)`, value i lies at i; those outside are moved to the nearest end.
        count: of values.
        reading: "nearest", where halves go up, or "bilinear".
    """
    weights = positions.new_zeros(len(positions), count)
    if reading == "nearest":
        nearest = (positions + 0.5).floor().clamp(0, count - 1).long()
        return weights.scatter_(1, nearest[:, None], 1.0)
    inside = positions.clamp(0, count - 1)
    lower = inside.floor().clamp_max(max(count - 2, 0))
    fraction = inside - lower
    upper = (lower + 1).clamp_max(count - 1)
    weights.scatter_add_(1, lower.long()[:, None], 1 - fraction[:, None])
    return weights.scatter_add_(1, upper.long()[:, None], fraction[:, None])


def resize_nearest(numbers: Tensor, size: Size) -> Tensor:
    """Return numbers `(H, W)` at another size, each pixel that of the nearest one's centre."""
    places = []
    for given, wanted in zip(numbers.shape, size, strict=True):
        # In whole numbers, (2 i + 1) · given / (2 · wanted) rounded down: no rounding error.
        twice = 2 * torch.arange(wanted, device=numbers.device) + 1
        places.append(twice * given // (2 * wanted))
    return numbers[places[0][:, None], places[1]]
