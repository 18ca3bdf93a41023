"""How layers move: homographies and smooth grid deformation, in closed form over time.

A layer's own coordinates q are such that its shape lies in [-1, 1]². At time t its point q is seen
at frame position x (frame sides, from the frame's centre), where

    q = u + bend(t) · d(u),    u = to_layer(t) · x.

So a frame is made by the closed form, and only flow needs the inverse of u + bend · d(u), which
Newton's method finds. d is a cubic B-spline over a grid of control displacements, tabulated on a
lattice of `CELLS`² cells and read bilinearly; that reading is the definition. Controls are scaled
down until the Lipschitz constant (maximum norm) of bend · d stays under `STEEPEST` for the whole
clip; the map is then one to one: free of folds.

`to_layer` is the inverse of background(t) · own(t) · extent, each a homography; own(t) and
background(t) translate, rotate, shear, scale and change perspective in proportion to a course s(t):
s(0) = 0, s(1) = 1, constant speed but for an acceleration.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from autoflow.draws import Draws
from autoflow.hyperparameters import Motion

CELLS = 32  # of the lattice, along each axis
REACH = 1.25  # the lattice covers [-REACH, REACH]²; beyond, displacement stays what it is there
GRID = 4  # spans of the spline along each axis of the lattice
STEEPEST = 0.5  # bound on the Lipschitz constant of the displacement
NEWTON_STEPS = 3  # errors of 15 px fall under 0.001 px
HORIZON = 0.05  # points nearer to the horizon than this are no part of any layer
MOST_PERSPECTIVE = 0.35  # per frame side; keeps the horizon out of frame
_CELLS_PER_UNIT = CELLS / (2 * REACH)

Points = tuple[Tensor, Tensor]  # x and y, of the same shape


@dataclass(frozen=True)
class Motions:
    """What is drawn of the motion of `(B, L)` layers, float64. Lengths are in frame sides."""

    centre: Tensor  # (B, L, 2)
    extent: Tensor  # (B, L, 2) half sides of the layer's box
    translation: Tensor  # (B, L, 2) a frame step, as the rest
    rotation: Tensor  # (B, L) radians
    scale: Tensor  # (B, L) logarithm
    shear: Tensor  # (B, L)
    perspective: Tensor  # (B, L, 2) per frame side
    acceleration: Tensor  # (B, L) share of the speed
    controls: Tensor  # (B, L, 2, GRID + 3, GRID + 3) displacement x, y in boxes; rows along y


@dataclass(frozen=True)
class Poses:
    """Where layers are at given times: `(V, L, 3, 3)` homographies and `(V, L)` bends, float32.

    A view is one scene at one time: V = B * N.
    """

    to_frame: Tensor
    to_layer: Tensor
    bend: Tensor


def draw_motions(
    draws: Draws, motion: Motion, centre: Tensor, extent: Tensor, frames: int
) -> Motions:
    """Draw the motions of layers with keys, centres and extents `(B, L, ...)`."""
    length = motion.translation * (motion.tail * draws.normal("translation length")).exp()
    angle = 2 * torch.pi * draws.uniform("translation angle")
    acceleration = (motion.acceleration * draws.normal("acceleration")).clamp(-0.9, 0.9)
    controls = motion.deformation * draws.normal("deformation", 2, GRID + 3, GRID + 3)
    return Motions(
        centre=centre,
        extent=extent,
        translation=length[..., None] * torch.stack((angle.cos(), angle.sin()), -1),
        rotation=torch.pi / 180 * motion.rotation * draws.normal("rotation"),
        scale=motion.scale * draws.normal("scale"),
        shear=motion.shear * draws.normal("shear"),
        perspective=motion.perspective * draws.normal("perspective", 2),
        acceleration=acceleration,
        controls=_without_folds(controls / extent[..., None, None], acceleration, frames),
    )


def course(acceleration: Tensor, time: Tensor | float) -> Tensor:
    """Return how far layers have come on their way by `time`, in frame steps."""
    return time + acceleration * (time * (time - 1) / 2)


def poses(motions: Motions, times: Tensor) -> Poses:
    """Return the poses at `times` `(B, N)`, in frame steps after the first frame.

    Layer 0, the background, carries the others along.
    """
    progress = course(motions.acceleration[:, None], times[..., None])
    own = _own_homography(motions, progress)
    carried = torch.cat((own[:, :, :1], own[:, :, :1] @ own[:, :, 1:]), 2)
    box = torch.diag_embed(F.pad(motions.extent, (0, 1), value=1.0))
    to_frame = (carried @ box[:, None]).flatten(0, 1)
    to_layer = torch.linalg.inv(to_frame)
    return Poses(to_frame.float(), to_layer.float(), progress.flatten(0, 1).float())


def lattice(controls: Tensor) -> Tensor:
    """Tabulate the displacement of controls `(..., 2, GRID + 3, GRID + 3)`.

    Returns:
        `(8, ..., CELLS * CELLS)`: for x, then y, the coefficients of a cell's bilinear form, see
        `bilinear`.
    """
    basis = _spline_basis(controls)
    nodes = basis @ controls @ basis.T
    return bilinear_coefficients(nodes).movedim(-3, 0).flatten(0, 1).flatten(-2)


def bilinear_coefficients(nodes: Tensor) -> Tensor:
    """Return the c of c0 + c1 fx + c2 fy + c3 fx fy in each cell of `(..., n, n)` nodes.

    fx and fy go from 0 to 1 across the cell. The result is `(4, ..., n - 1, n - 1)`.
    """
    left, right = nodes[..., :-1], nodes[..., 1:]
    along_x = (right - left)[..., :-1, :]
    along_y = left[..., 1:, :] - left[..., :-1, :]
    return torch.stack((left[..., :-1, :], along_x, along_y, (right - left)[..., 1:, :] - along_x))


def homogeneous(matrices: Tensor, points: Points) -> tuple[Tensor, Tensor, Tensor]:
    """Return points `(M, P)` after the homographies `(M, 3, 3)`, before division by the third."""
    x, y = points
    rows = matrices[..., None].unbind(1)
    first, second, depth = (r[:, 0] * x + r[:, 1] * y + r[:, 2] for r in rows)
    return first, second, depth


def project(matrices: Tensor, points: Points) -> Points:
    """Return points `(M, P)` after the homographies `(M, 3, 3)`."""
    first, second, depth = homogeneous(matrices, points)
    depth = depth.clamp(min=HORIZON)
    return first / depth, second / depth


def deform(table: Tensor, layer: Tensor, bend: Tensor, points: Points) -> Points:
    """Return u + bend · d(u) for points u `(M, P)` of layers `(M,)`, bends `(M,)`.

    `table` is a `lattice` of all layers, `(8, layers * cells)`.
    """
    return _where_bent(_deform, table, layer, bend, points)


def undeform(table: Tensor, layer: Tensor, bend: Tensor, points: Points) -> Points:
    """Return the u with u + bend · d(u) = q for points q `(M, P)`, by Newton's method."""
    return _where_bent(_undeform, table, layer, bend, points)


def _where_bent(
    function: Callable[..., Points], table: Tensor, layer: Tensor, bend: Tensor, points: Points
) -> Points:
    """Apply a function to those rows of points whose bend is not zero; the others stay."""
    (rows,) = bend.nonzero(as_tuple=True)
    if len(rows) == len(bend):
        return function(table, layer, bend, points)
    bent = function(table, layer[rows], bend[rows], (points[0][rows], points[1][rows]))
    return points[0].index_copy(0, rows, bent[0]), points[1].index_copy(0, rows, bent[1])


def _deform(table: Tensor, layer: Tensor, bend: Tensor, points: Points) -> Points:
    places = _places(points)
    c0, c1, c2, c3, e0, e1, e2, e3, fx, fy = _cells(table, layer, places)
    dx = torch.addcmul(torch.addcmul(c0, fy, c2), fx, torch.addcmul(c1, fy, c3))
    dy = torch.addcmul(torch.addcmul(e0, fy, e2), fx, torch.addcmul(e1, fy, e3))
    return torch.addcmul(points[0], bend[:, None], dx), torch.addcmul(points[1], bend[:, None], dy)


def _undeform(table: Tensor, layer: Tensor, bend: Tensor, points: Points) -> Points:
    x, y = points
    bend = bend[:, None]
    slope = bend * _CELLS_PER_UNIT
    for _ in range(NEWTON_STEPS):
        places = _places((x, y))
        c0, c1, c2, c3, e0, e1, e2, e3, fx, fy = _cells(table, layer, places)
        c1, e1 = torch.addcmul(c1, fy, c3), torch.addcmul(e1, fy, e3)
        dx = torch.addcmul(torch.addcmul(c0, fy, c2), fx, c1)
        dy = torch.addcmul(torch.addcmul(e0, fy, e2), fx, e1)
        # Beyond the lattice displacement does not vary.
        slope_x, slope_y = (slope * ((place > 0) & (place < CELLS)) for place in places)
        a, b = 1 + slope_x * c1, slope_y * torch.addcmul(c2, fx, c3)
        c, d = slope_x * e1, 1 + slope_y * torch.addcmul(e2, fx, e3)
        error_x = torch.addcmul(x - points[0], bend, dx)
        error_y = torch.addcmul(y - points[1], bend, dy)
        determinant = a * d - b * c
        x = x - (d * error_x - b * error_y) / determinant
        y = y - (a * error_y - c * error_x) / determinant
    return x, y


def _places(points: Points) -> Points:
    """Return points in cells of the lattice."""
    x, y = ((value + REACH) * _CELLS_PER_UNIT for value in points)
    return x, y


def _cells(table: Tensor, layer: Tensor, places: Points) -> tuple[Tensor, ...]:
    """Return the eight coefficients of the cells at `places` `(M, P)`, and fx, fy in the cells."""
    x, y = (place.clamp(0, CELLS) for place in places)
    column, row = x.floor().clamp_(max=CELLS - 1), y.floor().clamp_(max=CELLS - 1)
    index = layer.int()[:, None] * CELLS**2 + (row * CELLS + column).int()
    flat = index.flatten()
    values = (one.index_select(0, flat).view(index.shape) for one in table)
    return *values, x - column, y - row


def _own_homography(motions: Motions, progress: Tensor) -> Tensor:
    """Translation · rotation · shear · scale · perspective, about the centre, `(B, N, L, 3, 3)`."""
    angle, scale = motions.rotation[:, None] * progress, (motions.scale[:, None] * progress).exp()
    cos, sin, shear = scale * angle.cos(), scale * angle.sin(), motions.shear[:, None] * progress
    place = motions.centre[:, None] + motions.translation[:, None] * progress[..., None]
    zero, one = torch.zeros_like(cos), torch.ones_like(cos)
    similar = _matrix(
        (cos, shear * cos - sin, place[..., 0]),
        (sin, shear * sin + cos, place[..., 1]),
        (zero, zero, one),
    )
    tilt = motions.perspective[:, None] * progress[..., None]
    tilt = tilt / (1 + tilt.square().sum(-1, keepdim=True) / MOST_PERSPECTIVE**2).sqrt()
    return similar @ _matrix(
        (one, zero, zero), (zero, one, zero), (tilt[..., 0], tilt[..., 1], one)
    )


def _matrix(*rows: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def _without_folds(controls: Tensor, acceleration: Tensor, frames: int) -> Tensor:
    """Scale controls down so that the displacement's Lipschitz constant stays under STEEPEST.

    A spline's slope is at most the largest difference between neighbouring controls over their
    distance; bilinear reading of its values is no steeper.
    """
    spacing = 2 * REACH / GRID
    across = controls.diff(dim=-1).abs().amax((-2, -1)) + controls.diff(dim=-2).abs().amax((-2, -1))
    ends = [course(acceleration, time).abs() for time in (-0.5, frames - 0.5)]
    steepest = across.amax(-1) / spacing * torch.maximum(*ends).clamp(min=1.0)
    return controls * (STEEPEST / steepest.clamp(min=STEEPEST))[..., None, None, None]


def _spline_basis(like: Tensor) -> Tensor:
    """Return the weights of GRID + 3 controls at CELLS + 1 nodes: uniform cubic B-splines."""
    node = torch.arange(CELLS + 1, device=like.device, dtype=like.dtype) * (GRID / CELLS)
    control = torch.arange(-1, GRID + 2, device=like.device, dtype=like.dtype)
    distance = (node[:, None] - control).abs()
    inner = 2 / 3 - distance.square() + distance**3 / 2
    outer = (2 - distance).clamp(min=0) ** 3 / 6
    return torch.where(distance < 1, inner, outer)
