"""Textures that are functions of space, for solids: cells, wood, marble, bricks, blotches.

Each is a function from points `(3, N)` in metres to colours `(3, N)` about [0, 1].
"""

import numpy as np

from selfflow.raycast import Array, Texture, column

Color = tuple[float, float, float]


def _mix(low: Color, high: Color, weight: Array) -> Array:
    """Return colours from `low` (weight 0) to `high` (weight 1), `(3, N)`."""
    a, b = column(low, weight), column(high, weight)
    return a + (b - a) * weight


def waves(points: Array, wavelength: float, seed: int, count: int = 5) -> Array:
    """Return a sum of plane waves in random directions, `(N,)`, about -1 to 1.

    Wavelengths are spread over an octave around `wavelength` metres.
    """
    generator = np.random.default_rng(seed)
    directions = generator.normal(size=(count, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    frequency = 2 * np.pi / wavelength * 2 ** generator.uniform(-0.5, 0.5, (count, 1))
    phase = generator.uniform(0, 2 * np.pi, (count, 1))
    steepness, phase = ((directions * frequency).astype(points.dtype), phase.astype(points.dtype))
    total: Array = np.sin(steepness @ points + phase).sum(0) / count**0.5
    return total


def grained(texture: Texture, seed: int, strength: float = 0.12) -> Texture:
    """Add finer waves to a texture, so that its plain areas can be told apart."""

    def grained(points: Array) -> Array:
        grain = waves(points, 0.4, seed) + 0.7 * waves(points, 0.16, seed + 1)
        colors: Array = texture(points) * (1 + strength * grain)
        return colors

    return grained


def cells(low: Color, high: Color, size: float) -> Texture:
    """A 3-D chequer of soft-edged cells."""
    return lambda points: _mix(
        low, high, 0.5 + 0.5 * np.tanh(4 * np.sin(points * np.pi / size + 0.6).prod(0))
    )


def wood(low: Color, high: Color, ring: float, seed: int) -> Texture:
    """Wobbling rings about the y axis."""

    def texture(points: Array) -> Array:
        radius = np.hypot(points[0] + 0.3, points[2] - 0.2) + 0.3 * ring * waves(points, 0.9, seed)
        return _mix(low, high, 0.5 + 0.5 * np.sin(2 * np.pi * radius / ring))

    return texture


def marble(low: Color, high: Color, vein: float, seed: int) -> Texture:
    """Veins: a wave whose phase is disturbed."""

    def texture(points: Array) -> Array:
        phase = 1.6 * waves(points, 2 * vein, seed) + 0.7 * waves(points, 0.7 * vein, seed + 1)
        along = points.sum(0) * 2 * np.pi / (3 * vein)
        return _mix(low, high, np.abs(np.sin(along + phase)) ** 0.7)

    return texture


def bricks(clay: Color, mortar: Color, length: float, seed: int) -> Texture:
    """Courses of bricks, every second one shifted, each brick of its own shade."""

    def texture(points: Array) -> Array:
        course = points[1] / (0.45 * length)
        along = (points[0] + points[2]) / length + 0.5 * (np.floor(course) % 2)
        joint = np.minimum(
            np.abs(along - np.round(along)) * length,
            np.abs(course - np.round(course)) * 0.45 * length,
        )
        shade = (
            0.8
            + 0.35
            * np.modf(
                np.abs(np.sin(np.floor(along) * 12.9 + np.floor(course) * 78.2 + seed)) * 43.7
            )[0]
        )
        return _mix(mortar, clay, np.clip(joint / 0.03 - 0.5, 0, 1)) * shade

    return texture


def plasma(low: Color, high: Color, wavelength: float, seed: int) -> Texture:
    """Smooth blotches."""

    def texture(points: Array) -> Array:
        return _mix(low, high, 0.5 + 0.5 * np.tanh(1.5 * waves(points, wavelength, seed)))

    return texture


def walls_and_floor(walls: Texture, floor: Texture, ceiling: Texture, height: float) -> Texture:
    """Cover a room that is `height` metres above and below its centre (y points down)."""

    def texture(points: Array) -> Array:
        colors = walls(points)
        for there, part in (
            (points[1] > height - 1e-4, floor),
            (points[1] < 1e-4 - height, ceiling),
        ):
            colors[:, there] = part(points[:, there])
        return colors

    return texture
