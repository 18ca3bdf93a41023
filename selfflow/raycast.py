"""A small ray caster: solids that move rigidly, a moving camera, one light, exact motion.

World and camera axes: x right, y down, z forward; lengths in metres, times in frames. Points are
`(3, N)`, colours `(3, N)` in [0, 1]. Everything is computed in the type of the pixels that are
asked for: float64 for motion, float32 for colours, which is twice as fast.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating]
Indices = npt.NDArray[np.intp]
Path3 = Callable[[float], tuple[float, float, float]]
Texture = Callable[[Array], Array]

_NEAREST = 0.05  # metres in front of the camera; nearer points are not projected
_SAME_DEPTH = 1e-6  # relative; a point is visible if nothing lies in front of it by more
_IN_SHADOW = 0.35  # of the lamp's light, reflected by everything else


def rotation(turns: tuple[float, float, float]) -> Array:
    """Return the matrix that turns about z (roll), then x (pitch), then y (yaw), in radians.

    `turns` is (pitch, yaw, roll).
    """
    (sx, sy, sz), (cx, cy, cz) = np.sin(turns), np.cos(turns)
    pitch = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    yaw = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    roll = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    matrix: Array = yaw @ pitch @ roll
    return matrix


def turned(turns: tuple[float, float, float], points: Array, *, back: bool = False) -> Array:
    """Return points turned by `rotation(turns)`, or back."""
    matrix = rotation(turns).astype(points.dtype)
    return (matrix.T if back else matrix) @ points


def column(values: tuple[float, float, float], like: Array) -> Array:
    """Return three numbers as `(3, 1)`, in the type of `like`."""
    return np.array(values, like.dtype)[:, None]


@dataclass(frozen=True)
class Solid:
    """An ellipsoid or a box that moves rigidly, covered by a solid texture that it carries along.

    Attributes:
        round: an ellipsoid, else a box.
        extent: half its size along its own axes.
        texture: colours `(3, N)` of points `(3, N)` in its own axes.
        centre: where its centre is at a time.
        turn: (pitch, yaw, roll) at a time.
        hollow: seen from within, as a room is.
        glossy: strength of the highlight.
    """

    round: bool
    extent: tuple[float, float, float]
    texture: Texture
    centre: Path3
    turn: Path3 = lambda time: (0.0, 0.0, 0.0)
    hollow: bool = False
    glossy: float = 0.0

    def to_world(self, points: Array, time: float) -> Array:
        """Return where points of the solid are in the world at `time`."""
        return turned(self.turn(time), points) + column(self.centre(time), points)

    def to_own(self, points: Array, time: float) -> Array:
        """Return points of the world in the solid's own axes."""
        return turned(self.turn(time), points - column(self.centre(time), points), back=True)

    def distance(self, origins: Array, directions: Array, time: float) -> Array:
        """Return how many `directions` from `origins` its surface is, `(N,)`; inf if missed."""
        scale = column(self.extent, directions)
        start = self.to_own(origins, time) / scale
        step = turned(self.turn(time), directions, back=True) / scale
        enter, leave = self._crossings(start, step)
        crossing = leave if self.hollow else enter
        return np.where((enter <= leave) & (crossing > 1e-4), crossing, np.inf)

    def _crossings(self, start: Array, step: Array) -> tuple[Array, Array]:
        """Return where rays enter and leave the unit ball or cube; enter > leave if they miss."""
        if self.round:
            a = (step * step).sum(0)
            b = (start * step).sum(0)
            discriminant = b * b - a * ((start * start).sum(0) - 1)
            root = np.sqrt(np.maximum(discriminant, 0))
            return np.where(discriminant < 0, np.inf, (-b - root) / a), (-b + root) / a
        inverse = 1 / np.where(step == 0, 1e-30, step)
        first, second = (-1 - start) * inverse, (1 - start) * inverse
        return np.minimum(first, second).max(0), np.maximum(first, second).min(0)

    def normals(self, points: Array, time: float) -> Array:
        """Return the unit normals in the world at surface points of its own axes."""
        scale = column(self.extent, points)
        unit = points / scale
        if self.round:
            own = unit / scale
        else:
            own = np.where(np.abs(unit) == np.abs(unit).max(0), np.sign(unit), 0)
        own = own / np.sqrt((own * own).sum(0)) * (-1 if self.hollow else 1)
        return turned(self.turn(time), own)


@dataclass(frozen=True)
class Camera:
    """A pinhole camera: focal length in image widths, position and (pitch, yaw, roll) at a time."""

    focal: float
    position: Path3
    turn: Path3

    def rays(self, pixels: Array, width: int, height: int, time: float) -> Array:
        """Return the directions `(3, N)` through positions `(2, N)`; one direction is depth 1."""
        x, y = pixels
        focal = self.focal * width
        seen = ((x - (width - 1) / 2) / focal, (y - (height - 1) / 2) / focal, np.ones_like(x))
        return turned(self.turn(time), np.stack(seen))

    def project(self, points: Array, width: int, height: int, time: float) -> tuple[Array, Array]:
        """Return the positions `(2, N)` of points of the world in the picture, and their depth."""
        seen = turned(self.turn(time), points - self.origin(time, points), back=True)
        depth = seen[2]
        scale = self.focal * width / np.maximum(depth, _NEAREST)
        centre = np.array([[(width - 1) / 2], [(height - 1) / 2]])
        return seen[:2] * scale + centre, depth

    def origin(self, time: float, like: Array) -> Array:
        """Return where the camera is, `(3, 1)`, in the type of `like`."""
        return column(self.position(time), like)


@dataclass(frozen=True)
class Scene:
    """Solids, of which at least one is hollow and encloses everything, a camera and a lamp."""

    solids: tuple[Solid, ...]
    camera: Camera
    lamp: tuple[float, float, float]
    ambient: float
    haze: tuple[float, float, float]
    haze_distance: float

    def nearest(self, origin: Array, rays: Array, time: float) -> tuple[Array, Indices]:
        """Return the depth of the first surface along each ray, and which solid it belongs to."""
        depths = np.stack([solid.distance(origin, rays, time) for solid in self.solids])
        first = depths.argmin(0)
        return np.take_along_axis(depths, first[None], 0)[0], first

    def colors(self, pixels: Array, width: int, height: int, time: float) -> Array:
        """Return what is seen at positions `(2, N)` of the picture, `(3, N)`."""
        origin = self.camera.origin(time, pixels)
        rays = self.camera.rays(pixels, width, height, time)
        depth, first = self.nearest(origin, rays, time)
        surface = origin + depth * rays
        to_lamp = column(self.lamp, pixels) - surface
        lit = self._lit(surface, to_lamp, time)
        to_lamp /= np.sqrt((to_lamp * to_lamp).sum(0))
        colors = np.empty_like(surface)
        for number, solid in enumerate(self.solids):
            own = np.flatnonzero(first == number)
            points = solid.to_own(surface[:, own], time)
            normals = solid.normals(points, time)
            facing = np.maximum((normals * to_lamp[:, own]).sum(0), 0) * lit[own]
            light = self.ambient + (1 - self.ambient) * facing
            colors[:, own] = solid.texture(points) * light
            if solid.glossy:
                view = -rays[:, own] / np.sqrt((rays[:, own] ** 2).sum(0))
                half = view + to_lamp[:, own]
                half /= np.sqrt((half * half).sum(0))
                shine = np.maximum((normals * half).sum(0), 0) ** 24 * lit[own]
                colors[:, own] += solid.glossy * shine
        clear = np.exp(-depth / self.haze_distance)
        mixed: Array = clear * colors + (1 - clear) * column(self.haze, pixels)
        return mixed

    def _lit(self, surface: Array, to_lamp: Array, time: float) -> Array:
        """Return 1 where the lamp is seen from a surface point, less where a solid is between."""
        lit = np.ones_like(surface[0])
        for solid in self.solids:
            if not solid.hollow:
                # Rays start a little off the surface, else a solid would shade itself.
                distance = solid.distance(surface + 1e-3 * to_lamp, to_lamp, time)
                lit[distance < 1] = _IN_SHADOW
        return lit

    def motion(
        self, pixels: Array, width: int, height: int, start: float, end: float
    ) -> tuple[Array, npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """Return where what is seen at `start` moves by `end`.

        Args:
            pixels: positions `(2, N)`.
            width: of the picture, in pixels.
            height: of the picture.
            start: time of the first frame.
            end: time of the second.

        Returns:
            The motion `(2, N)` in pixels, exact; where it is valid `(N,)` (the point is still in
            front of the camera); where the point is visible at `end` `(N,)`: it lands inside the
            picture and the ray to it meets nothing before.
        """
        origin = self.camera.origin(start, pixels)
        rays = self.camera.rays(pixels, width, height, start)
        depth, first = self.nearest(origin, rays, start)
        surface = origin + depth * rays
        moved = np.empty_like(surface)
        for number, solid in enumerate(self.solids):
            own = first == number
            moved[:, own] = solid.to_world(solid.to_own(surface[:, own], start), end)
        target, target_depth = self.camera.project(moved, width, height, end)
        valid = target_depth > _NEAREST
        x, y = target
        inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
        rays = self.camera.rays(target, width, height, end)
        met, met_first = self.nearest(self.camera.origin(end, rays), rays, end)
        uncovered = (met_first == first) & (met > target_depth * (1 - _SAME_DEPTH))
        return target - pixels, valid, valid & inside & uncovered
