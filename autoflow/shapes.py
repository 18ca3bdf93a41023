"""The outlines of layers, and the distance maps that decide what a layer covers.

A shape is made of up to four parts: a main one, two that a composite adds, and a hole. A part is
star-shaped: an ellipse or a polygon with straight or curved edges, given by its radius as a
function of the angle. A layer's map holds the signed distance to its edge (approximate away from
it, positive inside, in frame sides) at the nodes of a grid over the layer's box; read bilinearly
at any point it is the definition of the shape: covered where it is positive.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from autoflow.draws import Draws
from autoflow.hyperparameters import Layers, Shapes

PARTS = 4  # the main one, two that a composite adds, the hole
ANGLES = 256  # entries of a radius table, evenly spaced along the diamond |x| + |y| = 1
NEEDLE, OUTLINE = 1, 2  # kinds of thin layers
SMALLEST = 0.02  # half side of a box, in frame sides


@dataclass(frozen=True)
class Outlines:
    """Parts of shapes `(B, F, PARTS)`, float64, in frame sides from the layer's centre."""

    radii: Tensor  # (B, F, PARTS, ANGLES) in the part's own frame
    frames: Tensor  # (B, F, PARTS, 2, 2) from the part's own frame to the layer's
    offsets: Tensor  # (B, F, PARTS, 2)
    present: Tensor  # (B, F, PARTS) bool
    rims: Tensor  # (B, F) half width of a shape that is only its outline, else 0


def draw_outlines(draws: Draws, shapes: Shapes, layers: Layers) -> Outlines:
    """Draw the shapes of layers with keys `(B, F)`."""
    size = layers.size * (layers.size_spread * draws.normal("size")).exp()
    ratio = (layers.elongation * draws.normal("elongation") / 2).exp()
    thin = draws.chance("thin", shapes.thin) * draws.integers("thin kind", NEEDLE, OUTLINE)
    width = shapes.thinness * (0.5 + draws.uniform("thinness"))

    main = torch.stack((size * ratio, size / ratio), -1)
    needle = torch.stack((1.5 * size, width), -1)
    main = torch.where((thin == NEEDLE)[..., None], needle, main)
    added = main[..., None, :] * draws.uniform("part size", 2, 1, low=0.4, high=0.8)
    hole = main * draws.uniform("hole size", 1, low=0.15, high=1.0) * shapes.hole_size
    axes = torch.cat((main[..., None, :], added, hole[..., None, :]), -2)

    direction = 2 * math.pi * draws.uniform("part place", 3)
    away = torch.stack((direction.cos(), direction.sin()), -1)
    distance = torch.cat(
        (
            draws.uniform("part distance", 2, low=0.4, high=0.9),
            0.15 * draws.uniform("hole place", 1),
        ),
        -1,
    )
    turn = _rotation(2 * math.pi * draws.uniform("orientation"))
    offsets = away * distance[..., None] * main[..., None, :] @ turn.mT
    solid = thin != NEEDLE
    composite = draws.chance("composite", shapes.composite) & solid
    both = composite & draws.chance("second part", 0.5)
    holed = draws.chance("hole", shapes.hole) & (thin == 0)

    parts = draws.child("part", PARTS)
    return Outlines(
        radii=_radius_tables(parts, shapes),
        frames=turn[..., None, :, :] * axes[..., None, :],
        offsets=torch.cat((torch.zeros_like(offsets[..., :1, :]), offsets), -2),
        present=torch.stack((torch.ones_like(solid), composite, both, holed), -1),
        rims=torch.where(thin == OUTLINE, width, 0.0),
    )


def boxes(outlines: Outlines) -> tuple[Tensor, Tensor]:
    """Return the centres and half sides `(B, F, 2)` of boxes around shapes."""
    solid = outlines.present.clone()
    solid[..., -1] = False  # the hole
    edges = torch.where(solid[..., None, None], _edges(outlines), 0.0).flatten(-3, -2)
    low, high = edges.amin(-2), edges.amax(-2)
    half = (high - low) / 2 + outlines.rims[..., None]
    return (low + high) / 2, half.clamp(min=SMALLEST)


def distance_maps(
    outlines: Outlines, centre: Tensor, extent: Tensor, margin: Tensor, nodes: int
) -> Tensor:
    """Return the signed distance at `nodes`² nodes of each layer's map, `(B, F, nodes, nodes)`.

    A map covers the layer's box and a `margin` `(B, F)` around it.
    """
    extent = extent + margin[..., None]
    steps = torch.linspace(-1, 1, nodes, device=centre.device, dtype=centre.dtype)
    x = (centre[..., :1] + extent[..., :1] * steps).float().flatten(0, 1)[:, None, :]
    y = (centre[..., 1:] + extent[..., 1:] * steps).float().flatten(0, 1)[:, :, None]
    tables = _distance_tables(outlines).flatten(0, 1)
    inverse = torch.linalg.inv(outlines.frames).float().flatten(0, 1)
    depths = _inner_radii(outlines).float().flatten(0, 1)[..., None, None]
    offsets, present = outlines.offsets.float().flatten(0, 1), outlines.present.flatten(0, 1)
    total = x.new_empty(len(x), nodes, nodes)
    for part in range(PARTS):
        (chosen,) = present[:, part].nonzero(as_tuple=True)
        place = (x[chosen], y[chosen], offsets[chosen, part], inverse[chosen, part])
        distance = _part_distance(tables[chosen, part], *place).minimum(depths[chosen, part])
        if part == PARTS - 1:
            distance = torch.minimum(total[chosen], -distance)
        elif part > 0:
            distance = torch.maximum(total[chosen], distance)
        total[chosen] = distance
    rims = outlines.rims.float().flatten()[:, None, None]
    total = torch.where(rims > 0, rims - total.abs(), total)
    # Distances beyond spikes are underestimated; the border is `margin` away all the same.
    width, height = extent.float().flatten(0, 1)[..., None, None].unbind(1)
    inwards = 1 - steps.float().abs()
    to_border = torch.minimum(width * inwards, height * inwards[:, None])
    total = torch.minimum(total, to_border - margin.float().flatten()[:, None, None])
    return total.view(*outlines.rims.shape, nodes, nodes)


def _radius_tables(parts: Draws, shapes: Shapes) -> Tensor:
    """Return radii in [0, 1] of random outlines, `(*keys.shape, ANGLES)`."""
    most = shapes.corners[1]
    corners = parts.integers("corners", *shapes.corners)[..., None]
    number = torch.arange(most, device=corners.device)
    # Gaps between neighbouring corners stay under 170 degrees: a straight edge crosses every ray.
    loose = ((corners.double() * (170 / 360) - 1) / 2).clamp(max=0.45)
    jitter = shapes.irregularity * loose * parts.signed("irregularity", most)
    angle = torch.where(number < corners, 2 * math.pi * (number + 0.5 + jitter) / corners, math.inf)
    radius = 1 - shapes.spikiness * parts.uniform("spikiness", most)

    ray = _ray_angles(angle).expand(*angle.shape[:-1], ANGLES).contiguous()
    after = torch.searchsorted(angle.contiguous(), ray)
    first, second = (after - 1) % corners, after % corners
    start = angle.gather(-1, first) - 2 * math.pi * (after == 0)
    end = angle.gather(-1, second) + 2 * math.pi * (after == corners)
    near, far = radius.gather(-1, first), radius.gather(-1, second)
    straight = near * far * (end - start).sin()
    straight = straight / (near * (ray - start).sin() + far * (end - ray).sin())
    along = (1 - (math.pi * (ray - start) / (end - start)).cos()) / 2
    curved = parts.chance("curved", shapes.curved)[..., None]
    polygon = torch.where(curved, near + (far - near) * along, straight)
    return torch.where(parts.chance("ellipse", shapes.ellipse)[..., None], 1.0, polygon)


def _ray_angles(like: Tensor) -> Tensor:
    """Return the angles in [0, 2π) of the tables' entries."""
    step = torch.arange(ANGLES, device=like.device, dtype=like.dtype) * (4 / ANGLES)
    x = torch.where(step <= 2, 1 - step, step - 3)
    y = torch.where(step <= 2, 1 - x.abs(), x.abs() - 1)
    return torch.atan2(y, x) % (2 * math.pi)


def _rotation(angle: Tensor) -> Tensor:
    cos, sin = angle.cos(), angle.sin()
    return torch.stack((torch.stack((cos, -sin), -1), torch.stack((sin, cos), -1)), -2)


def _rays(outlines: Outlines) -> Tensor:
    """Return the rays of the tables' entries, in the layer's frame, `(B, F, PARTS, ANGLES, 2)`."""
    angle = _ray_angles(outlines.radii)
    return torch.stack((angle.cos(), angle.sin()), -1) @ outlines.frames.mT


def _edges(outlines: Outlines) -> Tensor:
    """Return points on the edges of all parts, `(B, F, PARTS, ANGLES, 2)`."""
    return _rays(outlines) * outlines.radii[..., None] + outlines.offsets[..., None, :]


def _inner_radii(outlines: Outlines) -> Tensor:
    """Return the distance from parts' centres to their edges, `(B, F, PARTS)`.

    Deep inside, distances along rays are too long, above all in needles. This bounds them.
    """
    return (_rays(outlines) * outlines.radii[..., None]).norm(dim=-1).amin(-1)


def _distance_tables(outlines: Outlines) -> Tensor:
    """Return, by angle, radius, distance per radius, and the steps to the next entries.

    `(B, F, PARTS, ANGLES, 4)` float32. A step along the ray changes the distance to the edge by
    the ray's share along the edge's normal; that share is smoothed over the angle, because it
    jumps at corners.
    """
    edge, ray = _edges(outlines), _rays(outlines)
    tangent = edge.roll(-1, -2) - edge.roll(1, -2)
    across = (tangent[..., 0] * ray[..., 1] - tangent[..., 1] * ray[..., 0]).abs()
    share = across / tangent.norm(dim=-1).clamp(min=1e-9)
    share = sum((share.roll(shift, -1) for shift in range(-4, 5)), torch.zeros_like(share)) / 9
    table = torch.stack((outlines.radii, share), -1)
    return torch.cat((table, table.roll(-1, -2) - table), -1).float()


def _part_distance(tables: Tensor, x: Tensor, y: Tensor, offset: Tensor, inverse: Tensor) -> Tensor:
    """Return the signed distance to parts `(M,)` at x `(M, 1, R)`, y `(M, R, 1)`: `(M, R, R)`."""
    x, y = x - offset[:, 0, None, None], y - offset[:, 1, None, None]
    matrix = inverse[..., None, None]
    u, v = matrix[:, 0, 0] * x + matrix[:, 0, 1] * y, matrix[:, 1, 0] * x + matrix[:, 1, 1] * y
    share = v / (u.abs() + v.abs()).clamp(min=1e-9)
    turn = torch.where(u >= 0, share, 2 - share) * (ANGLES / 4)
    entry = turn.floor()
    row = torch.arange(len(tables), device=x.device).int()[:, None, None] * ANGLES
    row = row + entry.int() % ANGLES
    values = tables.flatten(0, 1).index_select(0, row.flatten()).view(*row.shape, 4)
    radius, slope, radius_step, slope_step = values.unbind(-1)
    along = turn - entry
    from_centre = (u * u + v * v).sqrt()
    return (radius + along * radius_step - from_centre) * (slope + along * slope_step)
