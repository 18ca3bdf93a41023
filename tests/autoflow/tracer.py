"""Points on layers, followed in float64 by formulas of their own.

From what a scene's layers were given (where, how fast, which control displacements), not from the
renderer's matrices: motion is applied point by point, step by step; splines come from scipy; the
displacement is undone by repeated substitution, homographies by solving linear equations.
"""

import numpy as np
from scipy.interpolate import BSpline, RegularGridInterpolator

from autoflow import motion
from autoflow.scene import Scenes


class Tracer:
    """Follows points on the layers of scene number `scene`. Positions are in pixels."""

    def __init__(self, scenes: Scenes, scene: int) -> None:
        self.scenes, self.scene = scenes, scene
        self.drawn = {n: v[scene].double().numpy() for n, v in vars(scenes.motions).items()}
        self.side = np.sqrt(scenes.height * scenes.width)
        self.middle = (np.array((scenes.width, scenes.height)) - 1) / 2
        self.readers = [self._displacement(layer) for layer in range(scenes.layers)]

    def to_frame(self, layer: int, points: np.ndarray, time: float) -> np.ndarray:
        """Return the pixel positions `(n, 2)` of a layer's points `(n, 2)` at `time`."""
        moved = self._bend_and_move(layer, points, time)
        if layer:
            # Where the point is in the first frame if the background rests; then that moves it.
            moved = self._bend_and_move(0, moved / self.drawn["extent"][0], time)
        return moved * self.side + self.middle

    def to_layer(self, layer: int, pixels: np.ndarray, time: float) -> np.ndarray:
        """Return the layer's points `(n, 2)` seen at pixel positions `(n, 2)` at `time`."""
        points = self._undo(0, (pixels - self.middle) / self.side, time)
        return self._undo(layer, points * self.drawn["extent"][0], time) if layer else points

    def covers(self, layer: int, points: np.ndarray) -> np.ndarray:
        """Return the signed distance to the layer's edge in pixels, positive on it."""
        if layer == 0:
            return np.full(len(points), np.inf)
        cells = self.scenes.map_cells
        c = self.scenes.maps[:, self.scene, layer].double().numpy().reshape(4, cells, cells)
        reach = self.scenes.map_reach[self.scene, layer].double().numpy()
        place = np.clip((points / reach + 1) / 2 * cells, 0, cells)
        column, row = np.minimum(place.astype(int), cells - 1).T
        fx, fy = place[:, 0] - column, place[:, 1] - row
        c0, c1, c2, c3 = c[:, row, column]
        return (c0 + c1 * fx + c2 * fy + c3 * fx * fy) * self.side

    def top(self, pixels: np.ndarray, time: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the top layer at pixel positions, and how far the nearest edge is, in pixels."""
        top, nearest = np.zeros(len(pixels), int), np.full(len(pixels), np.inf)
        for layer in range(1, self.scenes.layers):
            if self.scenes.present[self.scene, layer]:
                distance = self.covers(layer, self.to_layer(layer, pixels, time))
                top[distance > 0] = layer
                nearest = np.minimum(nearest, np.abs(distance))
        return top, nearest

    def flow(self, pixels: np.ndarray, top: np.ndarray, start: int, end: int) -> np.ndarray:
        """Return the flow `(n, 2)` of pixels on the layers `top` from one frame to another."""
        flow = np.zeros((len(pixels), 2))
        for layer in np.unique(top):
            on = top == layer
            points = self.to_layer(layer, pixels[on], start)
            flow[on] = self.to_frame(layer, points, end) - pixels[on]
        return flow

    def _bend_and_move(self, layer: int, points: np.ndarray, time: float) -> np.ndarray:
        """Return where a layer's own motion takes its points, deformation first."""
        course = self._course(layer, time)
        flat = points.copy()
        for _ in range(200):
            flat = points - course * self.readers[layer](flat)
        return self._move(layer, flat * self.drawn["extent"][layer], course)

    def _undo(self, layer: int, points: np.ndarray, time: float) -> np.ndarray:
        """Undo `_bend_and_move`."""
        course = self._course(layer, time)
        flat = self._move_back(layer, points, course) / self.drawn["extent"][layer]
        return flat + course * self.readers[layer](flat)

    def _course(self, layer: int, time: float) -> float:
        return time + self.drawn["acceleration"][layer] * time * (time - 1) / 2

    def _move(self, layer: int, points: np.ndarray, course: float) -> np.ndarray:
        """Perspective, scale, shear, rotation, translation, in this order, about the centre."""
        tilt = self._tilt(layer, course)
        points = points / (1 + points @ tilt)[:, None]
        points = points * np.exp(self.drawn["scale"][layer] * course)
        points = points + np.outer(points[:, 1] * self.drawn["shear"][layer] * course, (1, 0))
        complex_points = (points[:, 0] + 1j * points[:, 1]) * np.exp(
            1j * self.drawn["rotation"][layer] * course
        )
        points = np.stack((complex_points.real, complex_points.imag), 1)
        return points + self.drawn["centre"][layer] + self.drawn["translation"][layer] * course

    def _move_back(self, layer: int, points: np.ndarray, course: float) -> np.ndarray:
        """Undo `_move`, step by step."""
        points = points - self.drawn["centre"][layer] - self.drawn["translation"][layer] * course
        complex_points = (points[:, 0] + 1j * points[:, 1]) * np.exp(
            -1j * self.drawn["rotation"][layer] * course
        )
        points = np.stack((complex_points.real, complex_points.imag), 1)
        points = points - np.outer(points[:, 1] * self.drawn["shear"][layer] * course, (1, 0))
        points = points / np.exp(self.drawn["scale"][layer] * course)
        # p = u / (1 + g u), so u (1 - g p) = p.
        return points / (1 - points @ self._tilt(layer, course))[:, None]

    def _tilt(self, layer: int, course: float) -> np.ndarray:
        tilt = self.drawn["perspective"][layer] * course
        return tilt / np.sqrt(1 + tilt @ tilt / motion.MOST_PERSPECTIVE**2)

    def _displacement(self, layer: int):
        """Return the displacement as a function of points `(n, 2)`: a spline, read bilinearly."""
        controls = self.drawn["controls"][layer]
        spans, reach = motion.GRID, motion.REACH
        knots = np.arange(-3, spans + 4, dtype=float)
        nodes = np.linspace(0, spans, motion.CELLS + 1)
        # scipy's base intervals are half open: the last node is read just before its end.
        inner = np.minimum(nodes, spans - 1e-12)
        rows = BSpline(knots, controls.transpose(1, 2, 0), 3)(inner)
        values = BSpline(knots, rows.transpose(1, 0, 2), 3)(inner)  # by column, row
        axis = nodes / spans * 2 * reach - reach
        read = RegularGridInterpolator((axis, axis), values)
        return lambda points: read(np.clip(points, -reach, reach))
