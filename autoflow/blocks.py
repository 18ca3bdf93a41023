"""Frames cut into blocks of 16x16 pixels, the unit in which layers are evaluated."""

import math

import torch
from torch import Tensor

from autoflow.motion import Points

BLOCK = 16  # pixels along each axis


class Blocks:
    """The `count` blocks of `points` pixels that cover a frame, row by row.

    Attributes:
        x, y: positions of the blocks' pixels, `(count, points)`, in frame sides from the centre.
    """

    def __init__(self, height: int, width: int, device: torch.device) -> None:
        self.height, self.width = height, width
        self.rows, self.columns = -(-height // BLOCK), -(-width // BLOCK)
        self.count, self.points = self.rows * self.columns, BLOCK * BLOCK
        side = math.sqrt(height * width)
        self.right, self.bottom = (width - 1) / 2 / side, (height - 1) / 2 / side
        x = (
            torch.arange(self.columns * BLOCK, device=device, dtype=torch.float64) / side
            - self.right
        )
        y = torch.arange(self.rows * BLOCK, device=device, dtype=torch.float64) / side - self.bottom
        shape = (self.rows, self.columns, BLOCK, BLOCK)
        columns, rows = x.float().view(1, -1, 1, BLOCK), y.float().view(-1, 1, BLOCK, 1)
        self.x = columns.expand(shape).reshape(self.count, self.points)
        self.y = rows.expand(shape).reshape(self.count, self.points)

    def at(self, block: Tensor) -> Points:
        """Return the positions of blocks `(M,)`, `(M, points)`."""
        return self.x[block], self.y[block]

    def of(self, values: Tensor, view: Tensor) -> Tensor:
        """Return the blocks of the views `view` among blocks of all views, `(V * count, ...)`."""
        return values.unflatten(0, (-1, self.count))[view].flatten(0, 1)

    def inside(self, points: Points) -> Tensor:
        """Return which points lie inside the frame."""
        return (points[0].abs() <= self.right) & (points[1].abs() <= self.bottom)

    def join(self, values: Tensor) -> Tensor:
        """Put blocks `(V, C, count, points)` together to frames `(V, C, height, width)`."""
        grid = values.view(*values.shape[:2], self.rows, self.columns, BLOCK, BLOCK).transpose(3, 4)
        frame = grid.reshape(*values.shape[:2], self.rows * BLOCK, self.columns * BLOCK)
        return frame[..., : self.height, : self.width]
