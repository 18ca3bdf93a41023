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
    x, y = (
        (value * scale[:, axis, None] + cells / 2).clamp(0, cells)
        for axis, value in enumerate(points)
    )
    column, row = x.floor().clamp_(max=cells - 1), y.floor().clamp_(max=cells - 1)
    index = surface.int()[:, None] * cells**2 + (row * cells + column).int()
    flat = index.flatten()
    base, along_x, along_y, both = (
        one.index_select(0, flat).view(index.shape) for one in scenes.maps.flatten(1)
    )
    slope = torch.addcmul(along_y, x - column, both)
    return torch.addcmul(torch.addcmul(base, x - column, along_x), y - row, slope)


def opacity(distances: Tensor, width: Tensor) -> Tensor:
    """Return the opacity `(M, P)` at distances from an edge with a transition `width` `(M,)`."""
    return (distances / width[:, None] + 0.5).clamp(0, 1)


def color(scenes: Scenes, surface: Tensor, points: Points) -> Tensor:
    """Return the layers' colours, `(M, 3, P)`, in [0, 1]."""
    read = _texture(scenes, surface, points)
    matrix = scenes.colors.flatten(0, 1)[surface][..., None]
    red, green, blue = read.unbind(1)
    rows = [m[:, 0] * red + m[:, 1] * green + m[:, 2] * blue + m[:, 3] for m in matrix.unbind(1)]
    return torch.stack(rows, 1).clamp_(0, 1)


def _texture(scenes: Scenes, surface: Tensor, points: Points) -> Tensor:
    """Read the layers' tiles, mirrored at their sides without end, `(M, 3, P)`."""
    atlas = scenes.bank.atlas
    affine = scenes.to_texels.flatten(0, 1)[surface][..., None]
    corner_x, corner_y, side = scenes.tiles.flatten(0, 1)[surface][..., None].unbind(1)
    x, y = points
    last = side - 1
    places = []
    for row, corner, length in zip(
        affine.unbind(1), (corner_x, corner_y), (atlas.shape[3], atlas.shape[2]), strict=True
    ):
        place = row[:, 0] * x + row[:, 1] * y + row[:, 2]
        place = place - 2 * last * (place / (2 * last) + 0.5).floor()
        places.append((place.abs() + corner) * (2 / (length - 1)) - 1)
    grid = torch.stack(places, -1)[None]
    read = F.grid_sample(atlas, grid, mode="bilinear", padding_mode="border", align_corners=True)
    return read[0].transpose(0, 1)
