"""What a layer looks like at its own coordinates: how far inside, which colour, how opaque.

Points are `(M, P)`, x and y in layer coordinates; `surface` `(M,)` says which layer of which scene,
scene * L + layer. All readings are closed forms or bilinear: the same at any point, in any frame.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from autoflow.motion import Points
from autoflow.scene import Scenes


def distance(scenes: Scenes, surface: Tensor, points: Points) -> Tensor:
    """Return the signed distance to the layers' edges, `(M, P)` frame sides, positive inside."""
    cells = scenes.map_cells
    scale = (cells / 2) / scenes.map_reach.flatten(0, 1)[surface]
    fx, fy = (
        (value * scale[:, axis, None]).add_(cells / 2).clamp_(0, cells)
        for axis, value in enumerate(points)
    )
    column, row = fx.floor().clamp_(max=cells - 1), fy.floor().clamp_(max=cells - 1)
    fx, fy = fx.sub_(column), fy.sub_(row)
    place = column.add_(row, alpha=cells).int().add_(surface.int()[:, None], alpha=cells**2)
    index = place.flatten()
    base, along_x, along_y, both = (
        one.index_select(0, index).view(fx.shape) for one in scenes.maps.flatten(1)
    )
    return base.addcmul_(fx, along_x).addcmul_(fy, along_y.addcmul_(fx, both))


def opacity(distances: Tensor, width: Tensor) -> Tensor:
    """Return the opacity `(M, P)` at distances from an edge with a transition `width` `(M,)`."""
    return (distances / width[:, None]).add_(0.5).clamp_(0, 1)


def color(scenes: Scenes, surface: Tensor, points: Points) -> Tensor:
    """Return the layers' colours, `(M, 3, P)`, in [0, 1]."""
    red, green, blue = _texture(scenes, surface, points)
    shade = red.new_empty(len(red), 3, red.shape[1])
    # Not a matrix product, whose precision may be set lower on a GPU.
    for row, out in zip(
        scenes.colors.flatten(0, 1)[surface][..., None].unbind(1), shade.unbind(1), strict=True
    ):
        torch.mul(red, row[:, 0], out=out).addcmul_(green, row[:, 1])
        out.addcmul_(blue, row[:, 2]).add_(row[:, 3])
    return shade.clamp_(0, 1)


def _texture(scenes: Scenes, surface: Tensor, points: Points) -> Tensor:
    """Read the layers' tiles, mirrored at their sides without end, `(3, M, P)`."""
    atlas = scenes.bank.atlas
    affine = scenes.to_texels.flatten(0, 1)[surface][..., None]
    corner_x, corner_y, side = scenes.tiles.flatten(0, 1)[surface][..., None].unbind(1)
    grid = points[0].new_empty(1, *points[0].shape, 2)
    for axis, (row, corner) in enumerate(zip(affine.unbind(1), (corner_x, corner_y), strict=True)):
        # All in the grid's units, in which the atlas is 2 wide and high.
        unit = 2 / (atlas.shape[3 - axis] - 1)
        row, corner, period = row * unit, corner * unit - 1, 2 * (side - 1) * unit
        place = (points[0] * row[:, 0]).addcmul_(points[1], row[:, 1]).add_(row[:, 2])
        place.addcmul_((place / period).round_(), period, value=-1)
        torch.add(place.abs_(), corner, out=grid[0, ..., axis])
    read = F.grid_sample(atlas, grid, mode="bilinear", padding_mode="border", align_corners=True)
    return read[0]
