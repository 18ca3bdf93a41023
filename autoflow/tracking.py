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
from autoflow.views import Views, block_ranges


def follow(views: Views, blocks: Blocks, top: Tensor, place: Points) -> tuple[Points, Points]:
    """Return where points on layers are in `views`: on the ground and in the frame, `(V * K, P)`.

    Args:
        views: one for each view that the points come from, of the same scene at another time.
        blocks: of the frames.
        top: the layers that the points are on, `(V * K, P)`.
        place: the points in layer coordinates, `(V * K, P)`.
    """
    x, y = place[0].clone(), place[1].clone()
    lowest, highest = top.amin(-1), top.amax(-1)
    for layer in range(1, views.scenes.layers):
        entry = ((lowest <= layer) & (highest >= layer)).nonzero()[:, 0]
        own = top[entry] == layer
        landed = views.land(entry // blocks.count, layer, (place[0][entry], place[1][entry]))
        for values, new in zip((x, y), landed, strict=True):
            values.index_copy_(0, entry, torch.where(own, new, values.index_select(0, entry)))
    everywhere = torch.arange(len(views), device=top.device).repeat_interleave(blocks.count)
    return (x, y), views.land(everywhere, 0, (x, y))


def visible(views: Views, blocks: Blocks, top: Tensor, ground: Points, landing: Points) -> Tensor:
    """Return whether points on the layers `top` are seen in `views`, `(V * K, P)`.

    `ground` and `landing` are what `follow` returns.
    """
    seen = blocks.inside(landing)
    ranges, lowest = block_ranges(ground, len(views)), top.amin(-1)
    edge = torch.zeros(len(views), device=top.device)
    for layer in range(1, views.scenes.layers):
        touched = views.meets(layer, views.spans(layer, ranges), edge).flatten()
        entry = (touched & (lowest < layer)).nonzero()[:, 0]
        view = entry // blocks.count
        place = views.locate(view, layer, (ground[0][entry], ground[1][entry]))
        covers = distance(views.scenes, views.surface(view, layer), place) > 0
        seen[entry] &= ~(covers & (top[entry] < layer))
    return seen
