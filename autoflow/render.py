"""Scenes to pixels, exact flow and visibility.

Frames are cut into blocks of 16x16 pixels. For each layer, from the back to the front, only the
blocks that its box can touch are evaluated: where on the layer is the pixel (closed form), is it
covered (distance map), which colour (atlas). The same code serves any batch on any device; the CPU
takes few samples at a time, so that they stay in its caches.

Flow from view a to view b at a pixel x is to_frame_b(q) - x, with q = to_layer_a(x) on the top
layer by the hard mask. The pixel is visible if that target lies inside of b and no layer above
covers it there: masks are evaluated at the target itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from autoflow.blocks import Blocks
from autoflow.effects import apply_effects
from autoflow.hyperparameters import Hyperparameters
from autoflow.motion import (
    HORIZON,
    STEEPEST,
    Points,
    Poses,
    deform,
    homogeneous,
    poses,
    project,
    undeform,
)
from autoflow.scene import Scenes, draw_scenes
from autoflow.surface import color, distance, opacity
from autoflow.textures import PhotographBank
from selfflow.pairs import Pairs
from selfflow.random import key

EXPOSURES = 9  # instants over which motion blur is averaged
PIXELS_AT_ONCE = {"cpu": 2**19, "cuda": 2**25}  # of all frames
SCENES_AT_ONCE = 8  # drawn together, as parts that are painted one after the other


@dataclass(frozen=True)
class Sample:
    """Rendered clips, with everything known about them.

    Attributes:
        frames: `(B, N, 3, H, W)` in [0, 1].
        forward: flow from frame t to t + 1, `(B, N - 1, 2, H, W)` pixels.
        backward: flow from frame t + 1 to t, `(B, N - 1, 2, H, W)` pixels.
        visible_forward: which pixels of frame t are seen in t + 1, `(B, N - 1, 1, H, W)` bool.
        visible_backward: which pixels of frame t + 1 are seen in t, `(B, N - 1, 1, H, W)` bool.
        valid: where flow is known: everywhere, `(B, N - 1, 1, H, W)` bool.
        layers: which layer is on top, 0 for the background, `(B, N, 1, H, W)` int64.
    """

    frames: Tensor
    forward: Tensor
    backward: Tensor
    visible_forward: Tensor
    visible_backward: Tensor
    valid: Tensor
    layers: Tensor

    def pairs(self, reverse: bool = False) -> Pairs:
        """Return all pairs of neighbouring frames, B * (N - 1) of them; backwards if `reverse`."""
        first, second = self.frames[:, :-1].flatten(0, 1), self.frames[:, 1:].flatten(0, 1)
        flow, visible = self.forward, self.visible_forward
        if reverse:
            first, second, flow, visible = second, first, self.backward, self.visible_backward
        return Pairs(
            first, second, flow.flatten(0, 1), self.valid.flatten(0, 1), visible.flatten(0, 1)
        )


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


def render(
    hyperparameters: Hyperparameters,
    seed: int,
    indices: Tensor | Sequence[int],
    *,
    size: tuple[int, int],
    frames: int = 2,
    device: torch.device | str | None = None,
    photographs: PhotographBank | None = None,
) -> Sample:
    """Render the samples number `indices` of the stream (hyperparameters, seed).

    Args:
        hyperparameters: one set.
        seed: of the stream, not negative.
        indices: which samples; each depends on its own number alone.
        size: height and width in pixels.
        frames: frames of a clip, at least 2.
        device: where to render; where `indices` are by default.
        photographs: pictures to take textures from, besides procedural ones.
    """
    if frames < 2 or min(size) < 2:
        raise ValueError(f"needs 2 frames of 2x2 pixels at least, got {frames} of {size}")
    numbers = torch.as_tensor(indices, dtype=torch.int64, device=device)
    if numbers.ndim != 1 or not len(numbers):
        raise ValueError(f"needs a list of sample numbers, got shape {tuple(numbers.shape)}")
    at_once = max(1, PIXELS_AT_ONCE[numbers.device.type] // (size[0] * size[1] * frames))
    parts = []
    for group in numbers.split(SCENES_AT_ONCE * at_once):
        scenes = draw_scenes(hyperparameters, seed, group, size, frames, photographs)
        for part, chosen in zip(scenes.split(at_once), group.split(at_once), strict=True):
            clean = render_scenes(part)
            pictures = apply_effects(clean.frames, hyperparameters.effects, key(seed, chosen))
            parts.append(replace(clean, frames=pictures))
    return _join(parts)


def render_scenes(scenes: Scenes) -> Sample:
    """Render scenes without the effects that concern whole frames."""
    batch, frames = len(scenes.present), scenes.frames
    device = scenes.maps.device
    blocks = Blocks(scenes.height, scenes.width, device)
    times = torch.arange(frames, device=device, dtype=torch.float64).expand(batch, frames)
    views = poses(scenes.motions, times)
    half = scenes.shutter[:, None] / 2
    canvas = paint(
        scenes,
        blocks,
        views,
        poses(scenes.motions, times - half),
        poses(scenes.motions, times + half),
    )

    view = torch.arange(batch * frames, device=device).view(batch, frames)
    source = torch.cat((view[:, :-1].flatten(), view[:, 1:].flatten()))
    target = torch.cat((view[:, 1:].flatten(), view[:, :-1].flatten()))
    landing = follow(scenes, blocks, views, canvas, source, target)
    seen = visible(scenes, blocks, views, canvas, source, target, landing)
    x, y = (value.view(len(source), blocks.count, -1) for value in landing)
    flow = torch.stack((x - blocks.x, y - blocks.y), 1) * scenes.side

    steps = (2, batch, frames - 1)
    forward, backward = blocks.join(flow).view(*steps, 2, scenes.height, scenes.width)
    seen = blocks.join(seen.view(len(source), 1, blocks.count, -1))
    seen_forward, seen_backward = seen.view(*steps, 1, scenes.height, scenes.width)
    per_view = (batch, frames, -1, scenes.height, scenes.width)
    pictures = canvas.color.view(batch * frames, blocks.count, 3, -1).transpose(1, 2)
    top = canvas.top.view(batch * frames, 1, blocks.count, -1)
    return Sample(
        frames=blocks.join(pictures).view(per_view),
        forward=forward,
        backward=backward,
        visible_forward=seen_forward,
        visible_backward=seen_backward,
        valid=torch.ones_like(seen_forward),
        layers=blocks.join(top).view(per_view).long(),
    )


def paint(scenes: Scenes, blocks: Blocks, views: Poses, opening: Poses, closing: Poses) -> Canvas:
    """Paint all layers over one another, the background first."""
    count = len(views.bend)
    shape = (count * blocks.count, blocks.points)
    canvas = Canvas(
        top=torch.zeros(shape, dtype=torch.int32, device=blocks.x.device),
        x=blocks.x.new_empty(shape),
        y=blocks.x.new_empty(shape),
        color=blocks.x.new_empty(shape[0], 3, shape[1]),
    )
    scene = torch.arange(count, device=blocks.x.device) // scenes.frames
    blurred = scenes.shutter[scene] > 0
    for layer in range(scenes.layers):
        if layer:
            cast_shadow(scenes, blocks, views, canvas, layer)
            touched = touches(scenes, views, layer, scene, blocks.ranges())
            for other in (opening, closing):
                touched |= blurred[:, None] & touches(scenes, other, layer, scene, blocks.ranges())
            entry = touched.flatten().nonzero()[:, 0]
        else:
            entry = torch.arange(shape[0], device=blocks.x.device)
        view = entry // blocks.count
        which = scene[view] * scenes.layers + layer
        frame = blocks.at(entry % blocks.count)
        place = locate(scenes, views, view, layer, frame)
        paint_color, alpha = appearance(scenes, which, place, layer)
        smeared = blurred[view].nonzero()[:, 0]
        if len(smeared):
            ends = [
                locate(scenes, p, view[smeared], layer, (frame[0][smeared], frame[1][smeared]))
                for p in (opening, closing)
            ]
            paint_color[smeared], alpha[smeared] = exposed(scenes, which[smeared], ends, layer)
        if layer == 0:
            canvas.x[:], canvas.y[:], canvas.color[:] = *place, paint_color
            continue
        on_top = distance(scenes, which, place) > 0
        canvas.top[entry] = torch.where(on_top, layer, canvas.top[entry])
        canvas.x[entry] = torch.where(on_top, place[0], canvas.x[entry])
        canvas.y[entry] = torch.where(on_top, place[1], canvas.y[entry])
        canvas.color[entry] = canvas.color[entry] * (1 - alpha[:, None]) + paint_color
    return canvas


def locate(scenes: Scenes, views: Poses, view: Tensor, layer: int, points: Points) -> Points:
    """Return the layer coordinates of frame positions `(M, P)` in views `(M,)`."""
    flat = project(views.to_layer[view, layer], points)
    which = view // scenes.frames * scenes.layers + layer
    return deform(scenes.lattices.flatten(1), which, views.bend[view, layer], flat)


def appearance(scenes: Scenes, which: Tensor, place: Points, layer: int) -> tuple[Tensor, Tensor]:
    """Return colour times opacity `(M, 3, P)` and opacity `(M, P)` at layer coordinates."""
    shade = color(scenes, which, place)
    if layer == 0:
        return shade, torch.ones_like(place[0])
    alpha = opacity(distance(scenes, which, place), scenes.softness.flatten()[which])
    return shade * alpha[:, None], alpha


def exposed(scenes: Scenes, which: Tensor, ends: list[Points], layer: int) -> tuple[Tensor, Tensor]:
    """Return the mean appearance between the layer coordinates at the shutter's ends."""
    (x0, y0), (x1, y1) = ends
    total, alpha = torch.zeros_like(x0)[:, None], torch.zeros_like(x0)
    for number in range(EXPOSURES):
        share = (number + 0.5) / EXPOSURES
        one = appearance(
            scenes, which, (torch.lerp(x0, x1, share), torch.lerp(y0, y1, share)), layer
        )
        total, alpha = total + one[0] / EXPOSURES, alpha + one[1] / EXPOSURES
    return total, alpha


def cast_shadow(scenes: Scenes, blocks: Blocks, views: Poses, canvas: Canvas, layer: int) -> None:
    """Darken what lies under a layer's shadow: its shape, moved aside, with a wide transition."""
    scene = torch.arange(len(views.bend), device=blocks.x.device) // scenes.frames
    darkness, aside_x, aside_y, width = scenes.shadow[scene, layer].unbind(-1)
    low_x, high_x, low_y, high_y = blocks.ranges()
    ranges = (
        low_x - aside_x[:, None],
        high_x - aside_x[:, None],
        low_y - aside_y[:, None],
        high_y - aside_y[:, None],
    )
    touched = touches(scenes, views, layer, scene, ranges) & (darkness > 0)[:, None]
    entry = touched.flatten().nonzero()[:, 0]
    if not len(entry):
        return
    view = entry // blocks.count
    x, y = blocks.at(entry % blocks.count)
    place = locate(scenes, views, view, layer, (x - aside_x[view, None], y - aside_y[view, None]))
    distances = distance(scenes, scene[view] * scenes.layers + layer, place)
    shade = darkness[view, None] * opacity(distances, width[view])
    canvas.color[entry] *= 1 - shade[:, None]


def touches(
    scenes: Scenes, views: Poses, layer: int, scene: Tensor, ranges: tuple[Tensor, ...]
) -> Tensor:
    """Return which ranges of positions can meet a layer's box, `(V, K)`; never too few.

    A homography takes a rectangle to the convex hull of its corners' images; the displacement adds
    at most its Lipschitz constant times the hull's width to the corners' own.
    """
    low_x, high_x, low_y, high_y = (r.expand(len(views.bend), -1) for r in ranges)
    x = torch.cat((low_x, high_x, low_x, high_x), 1)
    y = torch.cat((low_y, low_y, high_y, high_y), 1)
    first, second, depth = homogeneous(views.to_layer[:, layer], (x, y))
    at_horizon = (depth < 2 * HORIZON).view(len(x), 4, -1).any(1)
    flat = first / depth, second / depth
    widths = [v.view(len(x), 4, -1).amax(1) - v.view(len(x), 4, -1).amin(1) for v in flat]
    slack = STEEPEST * torch.maximum(*widths)
    which = scene * scenes.layers + layer
    meets = scenes.present[scene, layer][:, None] & torch.ones_like(at_horizon)
    for value in deform(scenes.lattices.flatten(1), which, views.bend[:, layer], flat):
        corners = value.view(len(x), 4, -1)
        meets &= (corners.amin(1) - slack <= 1) & (corners.amax(1) + slack >= -1)
    return meets | (at_horizon & scenes.present[scene, layer][:, None])


def follow(
    scenes: Scenes, blocks: Blocks, views: Poses, canvas: Canvas, source: Tensor, target: Tensor
) -> Points:
    """Return where what is seen in the views `source` lies in the views `target`, `(S * K, P)`."""
    cells = (
        source[:, None] * blocks.count + torch.arange(blocks.count, device=source.device)
    ).flatten()
    landing = torch.zeros_like(canvas.x[cells]), torch.zeros_like(canvas.y[cells])
    for layer in range(scenes.layers):
        shown = (canvas.top == layer).any(-1)[cells]
        entry = shown.nonzero()[:, 0]
        if not len(entry):
            continue
        cell, view = cells[entry], target[entry // blocks.count]
        which = view // scenes.frames * scenes.layers + layer
        place = canvas.x[cell], canvas.y[cell]
        flat = undeform(scenes.lattices.flatten(1), which, views.bend[view, layer], place)
        own = canvas.top[cell] == layer
        for values, new in zip(landing, project(views.to_frame[view, layer], flat), strict=True):
            values[entry] = torch.where(own, new, values[entry])
    return landing


def visible(
    scenes: Scenes,
    blocks: Blocks,
    views: Poses,
    canvas: Canvas,
    source: Tensor,
    target: Tensor,
    landing: Points,
) -> Tensor:
    """Return which pixels of the views `source` are seen in the views `target`, `(S * K, P)`."""
    cells = (
        source[:, None] * blocks.count + torch.arange(blocks.count, device=source.device)
    ).flatten()
    top = canvas.top[cells]
    x, y = landing
    seen = blocks.inside(landing)
    lowest = top.amin(-1)
    shape = (len(source), blocks.count)
    ranges = tuple(v.view(shape) for v in (x.amin(-1), x.amax(-1), y.amin(-1), y.amax(-1)))
    at_target = Poses(views.to_frame[target], views.to_layer[target], views.bend[target])
    scene = target // scenes.frames
    for layer in range(1, scenes.layers):
        meets = touches(scenes, at_target, layer, scene, ranges) & (lowest < layer).view(shape)
        entry = meets.flatten().nonzero()[:, 0]
        if not len(entry):
            continue
        view = target[entry // blocks.count]
        place = locate(scenes, views, view, layer, (x[entry], y[entry]))
        which = view // scenes.frames * scenes.layers + layer
        covered = (distance(scenes, which, place) > 0) & (top[entry] < layer)
        seen[entry] &= ~covered
    return seen


def _join(parts: list[Sample]) -> Sample:
    if len(parts) == 1:
        return parts[0]
    return Sample(
        **{f.name: torch.cat([getattr(p, f.name) for p in parts]) for f in fields(Sample)}
    )
