"""Layers painted under one another, from the front to the back.

What lies under opaque layers need not be looked at. Motion blur is the mean over the time of
exposure, centred on the frame's instant, of what a layer looks like; each layer moves on its own.
Which layer is on top is decided by the instant alone.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from autoflow.blocks import Blocks
from autoflow.motion import Points
from autoflow.scene import Scenes
from autoflow.surface import color, distance, opacity
from autoflow.views import Ranges, Views, block_ranges

EXPOSURES = 9  # the most instants over which motion blur is averaged
PER_PIXEL = 2  # instants for each pixel that a block of the layer moves
DARK = 1e-5  # a share of the light that makes no difference


@dataclass(frozen=True)
class Moment:
    """Views, and where on their backgrounds the pixels of all blocks are, `(V * K, P)` x and y."""

    views: Views
    ground: Points

    @classmethod
    def of(cls, views: Views, blocks: Blocks) -> "Moment":
        """Return the moment of some views."""
        entry = torch.arange(len(views) * blocks.count, device=blocks.x.device)
        points = blocks.at(entry % blocks.count)
        return cls(views, views.locate(entry // blocks.count, 0, points))

    def spans(self, layer: int) -> Ranges:
        """Return ranges on a layer that hold the blocks', `(V, K)` each."""
        return self.views.spans(layer, self.ranges)

    def place(self, view: Tensor, entry: Tensor, layer: int) -> Points:
        """Return where on a layer the pixels of blocks `entry` `(M,)` of views `(M,)` are."""
        x, y = (values.index_select(0, entry) for values in self.ground)
        return (x, y) if layer == 0 else self.views.locate(view, layer, (x, y))

    @cached_property
    def ranges(self) -> Ranges:
        """The ranges of each block's ground, `(V, K)` each."""
        return block_ranges(self.ground, len(self.views))


@dataclass(frozen=True)
class Shot:
    """What is painted: the frames' instants, and the exposures around them.

    Attributes:
        scenes: of all views.
        instant: all views.
        ends: the opening and the closing of those views that show motion blur, if any do.
        number: which of those a view is, -1 for the others, `(V,)`.
        count: blocks in a view.
    """

    scenes: Scenes
    instant: Moment
    ends: tuple[Moment, ...]
    number: Tensor
    count: int

    @classmethod
    def of(cls, views: Views, opening: Views, closing: Views, blocks: Blocks) -> "Shot":
        """Return the shot of views, given the same ones at the exposure's ends."""
        shows = views.scenes.shutter[views.scene] > 0
        (blurred,) = shows.nonzero(as_tuple=True)
        ends = (opening, closing) if len(blurred) else ()
        return cls(
            views.scenes,
            Moment.of(views, blocks),
            tuple(Moment.of(end.take(blurred), blocks) for end in ends),
            torch.where(shows, shows.cumsum(0) - 1, -1),
            blocks.count,
        )

    def touches(self, layer: int) -> Tensor:
        """Return the blocks of which a layer may cover something in the exposure, `(V, K)`."""
        low_x, high_x, low_y, high_y = self.instant.spans(layer)
        blurred = self.number >= 0
        for end in self.ends:
            ranges = end.spans(layer)
            low_x[blurred] = torch.minimum(low_x[blurred], ranges[0])
            high_x[blurred] = torch.maximum(high_x[blurred], ranges[1])
            low_y[blurred] = torch.minimum(low_y[blurred], ranges[2])
            high_y[blurred] = torch.maximum(high_y[blurred], ranges[3])
        views = self.instant.views
        softness = self.scenes.softness[views.scene, layer]
        return views.meets(layer, (low_x, high_x, low_y, high_y), softness / 2)


@dataclass(frozen=True)
class Canvas:
    """What is seen, by view and block, `(V * K, ..., P)`.

    Attributes:
        top: the layer on top, uint8.
        x, y: where on that layer, in layer coordinates.
        color: `(V * K, 3, P)`.
        through: the share of the light from behind that what is painted lets through.
    """

    top: Tensor
    x: Tensor
    y: Tensor
    color: Tensor
    through: Tensor

    @classmethod
    def empty(cls, ground: Points) -> "Canvas":
        """Return one on which nothing is painted: the background is on top."""
        x, y = ground
        color = x.new_zeros(len(x), 3, x.shape[1])
        return cls(torch.zeros_like(x, dtype=torch.uint8), x.clone(), y.clone(), color, x * 0 + 1)

    def open(self) -> Tensor:
        """Return the blocks in which something lets light through, `(V * K,)`."""
        return self.through.amax(-1) > DARK


def paint(views: Views, opening: Views, closing: Views, blocks: Blocks) -> Canvas:
    """Paint all views; `opening` and `closing` are the same ones at the exposure's ends."""
    shot = Shot.of(views, opening, closing, blocks)
    canvas = Canvas.empty(shot.instant.ground)
    for layer in range(views.scenes.layers - 1, 0, -1):
        if views.scenes.present[:, layer].any():
            seen = shot.touches(layer).flatten() & (canvas.open() | (canvas.top.amin(-1) == 0))
            _cover(shot, canvas, seen.nonzero()[:, 0], layer)
            _cast_shadow(shot, canvas, layer)
    _cover(shot, canvas, canvas.open().nonzero()[:, 0], 0)
    return canvas


def _cover(shot: Shot, canvas: Canvas, entry: Tensor, layer: int) -> None:
    """Paint a layer behind the canvas in blocks `entry` `(M,)`, view * K + block."""
    view = entry // shot.count
    place = shot.instant.place(view, entry, layer)
    alpha = _opacity(shot, view, layer, place, canvas, entry)
    sharp = shot.number[view] < 0
    if sharp.all():
        _add(shot, canvas, entry, layer, place, alpha)
        return
    rows = sharp.nonzero()[:, 0]
    _add(shot, canvas, entry[rows], layer, (place[0][rows], place[1][rows]), alpha[rows])
    _add_blurred(shot, canvas, entry[~sharp], layer)


def _opacity(
    shot: Shot, view: Tensor, layer: int, place: Points, canvas: Canvas, entry: Tensor
) -> Tensor:
    """Return a layer's opacity `(M, P)` at `place`; put it on the canvas's top where it is that."""
    if layer == 0:
        return torch.ones_like(place[0])
    surface = shot.instant.views.surface(view, layer)
    distances = distance(shot.scenes, surface, place)
    top = canvas.top[entry]
    on_top = (distances > 0) & (top == 0)
    canvas.top[entry] = top.masked_fill_(on_top, layer)
    for values, new in ((canvas.x, place[0]), (canvas.y, place[1])):
        values.index_copy_(0, entry, torch.where(on_top, new, values.index_select(0, entry)))
    return opacity(distances, shot.scenes.softness.flatten()[surface])


def _add(
    shot: Shot, canvas: Canvas, entry: Tensor, layer: int, place: Points, alpha: Tensor
) -> None:
    """Add the light of a layer that is at `place` `(M, P)` in blocks `entry` `(M,)`."""
    through = canvas.through.index_select(0, entry)
    share = alpha * through
    canvas.through.index_copy_(0, entry, through.sub_(share))
    lit = (share.amax(-1) > DARK).nonzero()[:, 0]
    surface = shot.instant.views.surface(entry[lit] // shot.count, layer)
    shade = color(shot.scenes, surface, (place[0][lit], place[1][lit]))
    canvas.color.index_add_(0, entry[lit], shade.mul_(share[lit][:, None]))


def _add_blurred(shot: Shot, canvas: Canvas, entry: Tensor, layer: int) -> None:
    """Add the light of a layer in blocks `entry` `(M,)`, averaged over the exposure."""
    view, block = entry // shot.count, entry % shot.count
    number = shot.number[view]
    rows = number * shot.count + block
    (open_x, open_y), (close_x, close_y) = (end.place(number, rows, layer) for end in shot.ends)
    surface = shot.instant.views.surface(view, layer)
    extent = shot.scenes.motions.extent.flatten(0, 1)[surface, :, None].float() * shot.scenes.side
    way = torch.hypot((close_x - open_x) * extent[:, 0], (close_y - open_y) * extent[:, 1])
    instants = (PER_PIXEL * way.amax(-1)).ceil().clamp_(1, EXPOSURES)
    seen, total = torch.zeros_like(canvas.color[entry]), torch.zeros_like(open_x)
    softness = shot.scenes.softness.flatten()
    for instant in range(int(instants.max()) if len(entry) else 0):
        used = (instants > instant).nonzero()[:, 0]
        share = ((instant + 0.5) / instants[used])[:, None]
        place = (
            torch.lerp(open_x[used], close_x[used], share),
            torch.lerp(open_y[used], close_y[used], share),
        )
        shade = color(shot.scenes, surface[used], place)
        if layer > 0:
            alpha = opacity(distance(shot.scenes, surface[used], place), softness[surface[used]])
            shade.mul_(alpha[:, None])
        else:
            alpha = torch.ones_like(place[0])
        weight = 1 / instants[used, None]
        seen.index_add_(0, used, shade.mul_(weight[..., None]))
        total.index_add_(0, used, alpha.mul_(weight))
    through = canvas.through[entry]
    canvas.color.index_add_(0, entry, seen.mul_(through[:, None]))
    canvas.through[entry] = through * (1 - total).clamp_(min=0)


def _cast_shadow(shot: Shot, canvas: Canvas, layer: int) -> None:
    """Darken what lies under a layer's shadow: its shape, moved aside, with a wide transition.

    The shadow lies on the ground and moves with it.
    """
    views, scenes = shot.instant.views, shot.scenes
    darkness, aside_x, aside_y, width = scenes.shadow[views.scene, layer].unbind(-1)
    if not (darkness > 0).any():
        return
    aside_x, aside_y = (
        aside / scenes.motions.extent[views.scene, 0, axis].float()
        for axis, aside in enumerate((aside_x, aside_y))
    )
    low_x, high_x, low_y, high_y = shot.instant.ranges
    across, down = aside_x[:, None], aside_y[:, None]
    ranges = (low_x - across, high_x - across, low_y - down, high_y - down)
    touched = views.meets(layer, views.spans(layer, ranges), width / 2)
    touched &= (darkness > 0)[:, None] & canvas.open().view(touched.shape)
    entry = touched.flatten().nonzero()[:, 0]
    view = entry // shot.count
    x, y = (values.index_select(0, entry) for values in shot.instant.ground)
    place = views.locate(view, layer, (x - aside_x[view, None], y - aside_y[view, None]))
    distances = distance(scenes, views.surface(view, layer), place)
    shade = opacity(distances, width[view]).mul_(darkness[view, None])
    canvas.through[entry] *= shade.neg_().add_(1)
