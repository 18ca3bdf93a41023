"""Layers painted over one another, from the back to the front.

Motion blur is the mean over the time of exposure, centred on the frame's instant, of what a layer
looks like; each layer moves on its own. Which layer is on top is decided by the instant alone.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from autoflow.blocks import Blocks
from autoflow.motion import Points
from autoflow.surface import color, distance, opacity
from autoflow.views import Views

EXPOSURES = 9  # instants over which motion blur is averaged


@dataclass(frozen=True)
class Canvas:
    """What is seen, by view and block, `(V * K, ..., P)`.

    Attributes:
        top: the layer on top.
        x, y: where on that layer, in layer coordinates.
        color: `(V * K, 3, P)`.
    """

    top: Tensor
    x: Tensor
    y: Tensor
    color: Tensor


def paint(views: Views, opening: Views, closing: Views, blocks: Blocks) -> Canvas:
    """Paint all views; `opening` and `closing` are the same ones at the exposure's ends."""
    everywhere = torch.arange(len(views) * blocks.count, device=blocks.x.device)
    place, seen, _ = _look(views, (opening, closing), blocks, everywhere, 0)
    canvas = Canvas(torch.zeros_like(place[0], dtype=torch.int32), *place, seen)
    blurred = (views.scenes.shutter[views.scene] > 0)[:, None]
    for layer in range(1, views.scenes.layers):
        _cast_shadow(views, blocks, canvas, layer)
        touched = views.touches(layer, blocks.ranges())
        for end in (opening, closing):
            touched |= blurred & end.touches(layer, blocks.ranges())
        entry = touched.flatten().nonzero()[:, 0]
        _cover(views, (opening, closing), blocks, canvas, entry, layer)
    return canvas


def _cover(
    views: Views,
    exposure: tuple[Views, Views],
    blocks: Blocks,
    canvas: Canvas,
    entry: Tensor,
    layer: int,
) -> None:
    """Paint a layer over the canvas in blocks `entry` `(M,)`, view * K + block."""
    place, seen, alpha = _look(views, exposure, blocks, entry, layer)
    surface = views.surface(entry // blocks.count, layer)
    on_top = distance(views.scenes, surface, place) > 0
    canvas.top[entry] = torch.where(on_top, layer, canvas.top[entry])
    canvas.x[entry] = torch.where(on_top, place[0], canvas.x[entry])
    canvas.y[entry] = torch.where(on_top, place[1], canvas.y[entry])
    canvas.color[entry] = canvas.color[entry] * (1 - alpha[:, None]) + seen


def _look(
    views: Views, exposure: tuple[Views, Views], blocks: Blocks, entry: Tensor, layer: int
) -> tuple[Points, Tensor, Tensor]:
    """Return a layer in blocks `entry`: layer coordinates, colour times opacity, opacity."""
    view, points = entry // blocks.count, blocks.at(entry % blocks.count)
    surface = views.surface(view, layer)
    place = views.locate(view, layer, points)
    seen, alpha = _appearance(views, surface, place, layer)
    blurred = (views.scenes.shutter[views.scene[view]] > 0).nonzero()[:, 0]
    if len(blurred):
        points = points[0][blurred], points[1][blurred]
        ends = [end.locate(view[blurred], layer, points) for end in exposure]
        total = [torch.zeros_like(seen[blurred]), torch.zeros_like(alpha[blurred])]
        for number in range(EXPOSURES):
            share = (number + 0.5) / EXPOSURES
            x, y = (torch.lerp(first, last, share) for first, last in zip(*ends, strict=True))
            parts = _appearance(views, surface[blurred], (x, y), layer)
            total = [old + new / EXPOSURES for old, new in zip(total, parts, strict=True)]
        seen[blurred], alpha[blurred] = total
    return place, seen, alpha


def _appearance(views: Views, surface: Tensor, place: Points, layer: int) -> tuple[Tensor, Tensor]:
    """Return colour times opacity `(M, 3, P)` and opacity `(M, P)` at layer coordinates."""
    shade = color(views.scenes, surface, place)
    if layer == 0:
        return shade, torch.ones_like(place[0])
    width = views.scenes.softness.flatten()[surface]
    alpha = opacity(distance(views.scenes, surface, place), width)
    return shade * alpha[:, None], alpha


def _cast_shadow(views: Views, blocks: Blocks, canvas: Canvas, layer: int) -> None:
    """Darken what lies under a layer's shadow: its shape, moved aside, with a wide transition."""
    darkness, aside_x, aside_y, width = views.scenes.shadow[views.scene, layer][..., None].unbind(1)
    low_x, high_x, low_y, high_y = blocks.ranges()
    ranges = (low_x - aside_x, high_x - aside_x, low_y - aside_y, high_y - aside_y)
    entry = (views.touches(layer, ranges) & (darkness > 0)).flatten().nonzero()[:, 0]
    view, (x, y) = entry // blocks.count, blocks.at(entry % blocks.count)
    place = views.locate(view, layer, (x - aside_x[view], y - aside_y[view]))
    distances = distance(views.scenes, views.surface(view, layer), place)
    shade = darkness[view] * opacity(distances, width[view, 0])
    canvas.color[entry] *= 1 - shade[:, None]
