"""How layers move: homographies and smooth grid deformation, in closed form over time.

A layer's own coordinates q are such that its shape lies in [-1, 1]². At time t its point q is at
the position x of what carries it, where

    q = u + bend(t) · d(u),    u = inwards(t) · x.

The background is carried by the frame: x is a frame position, in frame sides from its centre. The
other layers are carried by the background, the ground on which they move: x are its coordinates. So
they take part in all of its motion, deformation included, and the two maps follow one another.

A frame is made by these closed forms, and only flow needs the inverse of u + bend · d(u), which
Newton's method finds. d is a cubic B-spline over a grid of control displacements, tabulated on a
lattice of `CELLS`² cells and read bilinearly; that reading is the definition. Controls are scaled
down until the Lipschitz constant (maximum norm) of bend · d stays under `STEEPEST` for the whole
clip; each map is then one to one, free of folds, and so is one after the other.

`inwards` is the inverse of carrier⁻¹ · own(t) · extent, each a homography; carrier is the
background's extent, or 1 for the background itself. own(t) translates, rotates, shears, scales and
changes perspective in proportion to a course s(t): s(0) = 0, s(1) = 1, constant speed but for an
acceleration.
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
SPAN = CELLS + 2  # cells of a table along each axis: around the lattice lies a ring without slope
_CELLS_PER_UNIT = CELLS / (2 * REACH)
_FIRST = REACH * _CELLS_PER_UNIT + 1  # the layer's centre, in cells from the table's corner

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
    """Where layers are at given times, float32. A view is one scene at one time: V = B * N.

    Attributes:
        outwards: homographies from layers to what carries them, `(V, L, 3, 3)`.
        inwards: their inverses.
        bend: `(V, L)`.
    """

    outwards: Tensor
    inwards: Tensor
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
    """Return the poses at `times` `(B, N)`, in frame steps after the first frame."""
    progress = course(motions.acceleration[:, None], times[..., None])
    box = torch.diag_embed(F.pad(motions.extent, (0, 1), value=1.0))
    frame = torch.eye(3, device=box.device, dtype=box.dtype).expand(len(box), 1, 3, 3)
    ground = torch.linalg.inv(box[:, :1]).expand(-1, box.shape[1] - 1, 3, 3)
    carrier = torch.cat((frame, ground), 1)[:, None]
    outwards = (carrier @ _own_homography(motions, progress) @ box[:, None]).flatten(0, 1)
    inwards = torch.linalg.inv(outwards)
    return Poses(outwards.float(), inwards.float(), progress.flatten(0, 1).float())


def lattice(controls: Tensor) -> Tensor:
    """Tabulate the displacement of controls `(..., 2, GRID + 3, GRID + 3)`.

    Returns:
        `(8, ..., SPAN * SPAN)`: for x, then y, the coefficients of a cell's bilinear form, see
        `bilinear_coefficients`. Beyond the lattice displacement is what it is at its border.
    """
    basis = _spline_basis(controls)
    nodes = basis @ controls @ basis.T
    around = F.pad(nodes.flatten(0, -4), (1, 1, 1, 1), mode="replicate")
    nodes = around.view(*nodes.shape[:-2], *around.shape[-2:])
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
    first, second, depth = ((x * r[:, 0]).addcmul_(y, r[:, 1]).add_(r[:, 2]) for r in rows)
    return first, second, depth


def project(matrices: Tensor, points: Points) -> Points:
    """Return points `(M, P)` after the homographies `(M, 3, 3)`."""
    first, second, depth = homogeneous(matrices, points)
    depth.clamp_(min=HORIZON)
    return first.div_(depth), second.div_(depth)


def deform(table: Tensor, layer: Tensor, bend: Tensor, points: Points) -> Points:
    """Return u + bend · d(u) for points u `(M, P)` of layers `(M,)`, bends `(M,)`.

    `table` is a `lattice` of all layers, `(8, layers * cells)`.
    """
    return _where_bent(_deform, table, layer, bend, points)


def undeform(table: Tensor, layer: Tensor, bend: Tensor, points: Points) -> Points:
    """Return the u with u + bend · d(u) = q for points q `(M, P)`, by Newton's method."""
    return _where_bent(_undeform, table, layer, bend, points)


def steepness(controls: Tensor) -> Tensor:
    """Return a bound on the Lipschitz constant (maximum norm) of the displacement, `(...)`.

    A spline's slope is at most the largest difference between neighbouring controls over their
    distance; bilinear reading of its values is no steeper.
    """
    spacing = 2 * REACH / GRID
    across = controls.diff(dim=-1).abs().amax((-2, -1)) + controls.diff(dim=-2).abs().amax((-2, -1))
    return across.amax(-1) / spacing


def _where_bent(
    function: Callable[..., Points], table: Tensor, layer: Tensor, bend: Tensor, points: Points
) -> Points:
    """Apply a function to those rows of points whose bend is not zero; the others stay."""
    (rows,) = bend.nonzero(as_tuple=True)
    if len(rows) == len(bend):
        return function(table, layer, bend, points)
    if not len(rows):
        return points
    bent = function(table, layer[rows], bend[rows], (points[0][rows], points[1][rows]))
    return points[0].index_copy(0, rows, bent[0]), points[1].index_copy(0, rows, bent[1])


def _deform(table: Tensor, layer: Tensor, bend: Tensor, points: Points) -> Points:
    dx, dy, *_ = _read(table, layer, _places(points))
    return torch.addcmul(points[0], bend[:, None], dx), torch.addcmul(points[1], bend[:, None], dy)


def _undeform(table: Tensor, layer: Tensor, bend: Tensor, points: Points) -> Points:
    """Solve in cells of the table, where a step to the next one is a step of 1."""
    goal_x, goal_y = _places(points)
    x, y = goal_x.clone(), goal_y.clone()
    slope = (bend * _CELLS_PER_UNIT)[:, None]
    for _ in range(NEWTON_STEPS):
        dx, dy, a, b, c, d = _read(table, layer, (x, y))
        a, b = a.mul_(slope).add_(1), b.mul_(slope)
        c, d = c.mul_(slope), d.mul_(slope).add_(1)
        error_x = (x - goal_x).addcmul_(slope, dx)
        error_y = (y - goal_y).addcmul_(slope, dy)
        determinant = (a * d).addcmul_(b, c, value=-1)
        x.addcdiv_(d.mul_(error_x).addcmul_(b, error_y, value=-1), determinant, value=-1)
        y.addcdiv_(a.mul_(error_y).addcmul_(c, error_x, value=-1), determinant, value=-1)
    first, second = (place.sub_(_FIRST).div_(_CELLS_PER_UNIT) for place in (x, y))
    return first, second


def _places(points: Points) -> Points:
    """Return points in cells of the table."""
    x, y = ((value * _CELLS_PER_UNIT).add_(_FIRST) for value in points)
    return x, y


def _read(table: Tensor, layer: Tensor, places: Points) -> tuple[Tensor, ...]:
    """Return displacements x and y at `places` `(M, P)`, and what they grow by from cell to cell.

    That is: dx, dy, dx along x, dx along y, dy along x, dy along y.
    """
    fx, fy = (place.clamp(0, SPAN) for place in places)
    column, row = fx.floor().clamp_(max=SPAN - 1), fy.floor().clamp_(max=SPAN - 1)
    fx, fy = fx.sub_(column), fy.sub_(row)
    index = column.add_(row, alpha=SPAN).int().add_(layer.int()[:, None], alpha=SPAN**2).flatten()
    values = [one.index_select(0, index).view(fx.shape) for one in table]
    read: list[Tensor] = []
    for base, along_x, along_y, both in (values[:4], values[4:]):
        along_x.addcmul_(fy, both)
        read += [base.addcmul_(fy, along_y).addcmul_(fx, along_x), along_x]
        read.append(along_y.addcmul_(fx, both))
    dx, dx_x, dx_y, dy, dy_x, dy_y = read
    return dx, dy, dx_x, dx_y, dy_x, dy_y


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
    """Scale controls down so that the displacement's Lipschitz constant stays under STEEPEST."""
    ends = [course(acceleration, time).abs() for time in (-0.5, frames - 0.5)]
    steepest = steepness(controls) * torch.maximum(*ends).clamp(min=1.0)
    return controls * (STEEPEST / steepest.clamp(min=STEEPEST))[..., None, None, None]


def _spline_basis(like: Tensor) -> Tensor:
    """Return the weights of GRID + 3 controls at CELLS + 1 nodes: uniform cubic B-splines."""
    node = torch.arange(CELLS + 1, device=like.device, dtype=like.dtype) * (GRID / CELLS)
    control = torch.arange(-1, GRID + 2, device=like.device, dtype=like.dtype)
    distance = (node[:, None] - control).abs()
    inner = 2 / 3 - distance.square() + distance**3 / 2
    outer = (2 - distance).clamp(min=0) ** 3 / 6
    return torch.where(distance < 1, inner, outer)
