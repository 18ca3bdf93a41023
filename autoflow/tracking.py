"""Flow and visibility: where the points that a view shows are in another view.

Flow from view a to view b at a pixel x is land_b(q) - x, with q = locate_a(x) on the top layer by
the hard mask. The pixel is visible if that target lies inside of b and no layer above covers it
there: masks are evaluated at the target itself.
"""

import torch
from torch import Tensor

from autoflow.blocks import Blocks
from autoflow.motion import Points
from autoflow.surface import distance
from autoflow.views import Views


def follow(views: Views, blocks: Blocks, top: Tensor, place: Points) -> Points:
    """Return where points on layers are seen in `views`, `(V, K, P)` each.

    Args:
        views: one for each view that the points come from, of the same scene at another time.
        blocks: of the frames.
        top: the layers that the points are on, `(V * K, P)`.
        place: the points in layer coordinates, `(V * K, P)`.
    """
    landing = torch.zeros_like(place[0]), torch.zeros_like(place[1])
    for layer in range(views.scenes.layers):
        own = top == layer
        entry = own.any(-1).nonzero()[:, 0]
        positions = views.land(entry // blocks.count, layer, (place[0][entry], place[1][entry]))
        for values, new in zip(landing, positions, strict=True):
            values[entry] = torch.where(own[entry], new, values[entry])
    shape = (len(views), blocks.count, blocks.points)
    return landing[0].view(shape), landing[1].view(shape)


def visible(views: Views, blocks: Blocks, top: Tensor, landing: Points) -> Tensor:
    """Return whether points on the layers `top` are seen at positions `landing`, `(V, K, P)`."""
    x, y = landing
    seen = blocks.inside(landing)
    ranges = (x.amin(-1), x.amax(-1), y.amin(-1), y.amax(-1))
    for layer in range(1, views.scenes.layers):
        view, block = (views.touches(layer, ranges) & (top.amin(-1) < layer)).nonzero(as_tuple=True)
        place = views.locate(view, layer, (x[view, block], y[view, block]))
        covers = distance(views.scenes, views.surface(view, layer), place) > 0
        seen[view, block] &= ~(covers & (top[view, block] < layer))
    return seen
