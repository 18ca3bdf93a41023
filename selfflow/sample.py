"""The built-in target: two short ray-cast films with exact flow, made on the spot.

It shares nothing with the renderer of `autoflow`: there, flat layers with painted textures are
moved; here, solids in a 3-D room are seen by a moving camera, with parallax, shading, shadows and
textures that are functions of space.
"""

from functools import cache

import numpy as np

from selfflow.io import Bytes
from selfflow.raycast import Array, Camera, Scene, Solid
from selfflow.sequences import FlowLabel, Sequence
from selfflow.solidtextures import bricks, cells, grained, marble, plasma, walls_and_floor, wood

HEIGHT, WIDTH, FRAMES = 160, 208, 24
_SUPERSAMPLING = 2  # rays a pixel, along each axis
_PIECES = 6  # that a picture is rendered in, so that its arrays stay in the processor's cache


def room() -> Scene:
    """A furnished room: the camera walks sideways past tumbling and rolling solids."""
    walls = bricks((0.80, 0.50, 0.36), (0.88, 0.82, 0.72), 0.62, seed=1)
    floor = cells((0.30, 0.24, 0.22), (0.92, 0.84, 0.66), 0.55)
    ceiling = plasma((0.72, 0.76, 0.82), (0.95, 0.93, 0.86), 1.2, seed=3)
    return Scene(
        solids=(
            Solid(
                round=False,
                extent=(4.2, 2.0, 5.0),
                texture=grained(walls_and_floor(walls, floor, ceiling, 2.0), 10),
                centre=lambda time: (0.0, -0.4, 3.6),
                hollow=True,
            ),
            Solid(  # a tumbling box in the air
                round=False,
                extent=(0.62, 0.5, 0.56),
                texture=grained(marble((0.10, 0.26, 0.52), (0.62, 0.86, 0.96), 0.5, 20), 21),
                centre=lambda time: (-1.15 + 0.012 * time, -0.35 + 0.2 * np.sin(time / 7), 3.4),
                turn=lambda time: (0.4 + 0.035 * time, 0.6 + 0.05 * time, 0.1),
                glossy=0.15,
            ),
            Solid(  # a ball that rolls over the floor, to the left
                round=True,
                extent=(0.58, 0.58, 0.58),
                texture=grained(cells((0.86, 0.16, 0.12), (0.98, 0.84, 0.30), 0.34), 30),
                centre=lambda time: (1.75 - 0.095 * time, 1.02, 2.9 + 0.01 * time),
                turn=lambda time: (0.3, 0.0, -0.164 * time),
                glossy=0.2,
            ),
            Solid(  # a wooden sideboard
                round=False,
                extent=(1.1, 0.55, 0.45),
                texture=grained(wood((0.36, 0.19, 0.09), (0.74, 0.48, 0.26), 0.16, 40), 41),
                centre=lambda time: (1.3, 1.05, 5.6),
                turn=lambda time: (0.0, -0.4, 0.0),
            ),
            Solid(  # a green balloon, near, that drifts upwards
                round=True,
                extent=(0.34, 0.44, 0.34),
                texture=grained(plasma((0.08, 0.40, 0.20), (0.66, 0.86, 0.32), 0.42, 50), 51),
                centre=lambda time: (0.1 + 0.02 * time, 0.55 - 0.045 * time, 2.0),
                turn=lambda time: (0.0, 0.06 * time, 0.25),
                glossy=0.4,
            ),
        ),
        camera=Camera(
            focal=0.95,
            position=lambda time: (
                -0.75 + 0.06 * time,
                0.04 * np.sin(time / 3.1),
                -0.3 + 0.015 * time,
            ),
            turn=lambda time: (
                0.05 + 0.008 * np.sin(time / 2.3),
                0.14 - 0.012 * time,
                0.03 * np.sin(time / 6),
            ),
        ),
        lamp=(-1.7, -1.3, 0.6),
        ambient=0.42,
        haze=(0.75, 0.72, 0.70),
        haze_distance=40.0,
    )


def yard() -> Scene:
    """A yard between houses under a cloudy sky: the camera moves forwards, a cart crosses."""
    return Scene(
        solids=(
            Solid(
                round=True,
                extent=(45.0, 30.0, 45.0),
                texture=plasma((0.36, 0.58, 0.90), (0.98, 0.98, 1.0), 16.0, 60),
                centre=lambda time: (0.0, 0.0, 0.0),
                hollow=True,
            ),
            Solid(  # the ground
                round=False,
                extent=(60.0, 0.5, 60.0),
                texture=grained(marble((0.34, 0.44, 0.20), (0.78, 0.72, 0.46), 1.1, 70), 71, 0.16),
                centre=lambda time: (0.0, 2.0, 0.0),
            ),
            Solid(
                round=False,
                extent=(1.6, 3.0, 3.4),
                texture=grained(bricks((0.72, 0.34, 0.26), (0.84, 0.80, 0.74), 0.9, 80), 81),
                centre=lambda time: (-4.1, -0.6, 8.4),
                turn=lambda time: (0.0, 0.12, 0.0),
            ),
            Solid(
                round=False,
                extent=(1.8, 2.2, 2.4),
                texture=grained(cells((0.30, 0.38, 0.56), (0.94, 0.88, 0.74), 0.8), 91),
                centre=lambda time: (4.3, -0.3, 10.5),
                turn=lambda time: (0.0, -0.3, 0.0),
            ),
            Solid(  # a cart that crosses
                round=False,
                extent=(0.9, 0.42, 0.45),
                texture=grained(wood((0.50, 0.10, 0.08), (0.94, 0.58, 0.24), 0.22, 100), 101),
                centre=lambda time: (-2.2 + 0.18 * time, 1.0, 5.6),
                turn=lambda time: (0.0, 0.15, 0.02 * np.sin(time)),
                glossy=0.1,
            ),
            Solid(  # a ball that is thrown
                round=True,
                extent=(0.36, 0.36, 0.36),
                texture=grained(cells((0.16, 0.20, 0.60), (0.96, 0.94, 0.90), 0.26), 111),
                centre=lambda time: (
                    1.6 - 0.1 * time,
                    0.4 - 0.13 * time + 0.0065 * time**2,
                    3.6 + 0.03 * time,
                ),
                turn=lambda time: (0.11 * time, 0.0, 0.08 * time),
                glossy=0.3,
            ),
            Solid(  # a bush
                round=True,
                extent=(0.9, 0.75, 0.9),
                texture=grained(plasma((0.06, 0.2, 0.08), (0.42, 0.62, 0.18), 0.36, 120), 121, 0.2),
                centre=lambda time: (1.75, 1.1, 4.6),
                turn=lambda time: (0.0, 0.0, 0.05 * np.sin(time / 4)),
            ),
        ),
        camera=Camera(
            focal=0.9,
            position=lambda time: (
                0.25 * np.sin(time / 9),
                0.05 * np.sin(time / 2.7),
                -0.6 + 0.075 * time,
            ),
            turn=lambda time: (
                0.03 + 0.01 * np.sin(time / 2.7),
                0.08 * np.sin(time / 8),
                0.02 * np.sin(time / 5),
            ),
        ),
        lamp=(-9.0, -14.0, -6.0),
        ambient=0.40,
        haze=(0.80, 0.86, 0.94),
        haze_distance=45.0,
    )


class SceneSequence(Sequence):
    """Frames of a scene with exact flow; made when asked for, and kept."""

    def __init__(self, name: str, scene: Scene, frames: int = FRAMES) -> None:
        self.name = name
        self.scene = scene
        self._frames = frames
        self._seen: dict[int, Bytes] = {}

    def __len__(self) -> int:
        return self._frames

    @property
    def labelled(self) -> range:
        """The frames from which the flow to the next one is known: all but the last."""
        return range(self._frames - 1)

    def frame(self, index: int) -> Bytes:
        """Return frame `index` as `(HEIGHT, WIDTH, 3)` uint8 RGB."""
        self._check_index(index)
        if index not in self._seen:
            self._seen[index] = self._render(index)
        return self._seen[index]

    def _render(self, index: int) -> Bytes:
        """Average the colours of several rays a pixel."""
        n = _SUPERSAMPLING
        pixels = (_grid(HEIGHT * n, WIDTH * n) + 0.5) / n - 0.5
        pieces = np.array_split(pixels.astype(np.float32), _PIECES, axis=1)
        colors = [self.scene.colors(piece, WIDTH, HEIGHT, index) for piece in pieces]
        rays = np.concatenate(colors, axis=1).reshape(3, HEIGHT, n, WIDTH, n)
        picture = rays.mean((2, 4)).transpose(1, 2, 0)
        return np.round(picture.clip(0, 1) * 255).astype(np.uint8)

    def flow(self, index: int) -> FlowLabel | None:
        """Return the exact flow from frame `index` to the next, None from the last one."""
        self._check_index(index)
        return self.motion(index, index + 1) if index in self.labelled else None

    def motion(self, first: int, second: int) -> FlowLabel:
        """Return the exact flow from frame `first` to frame `second`, in either direction."""
        pixels = _grid(HEIGHT, WIDTH)
        motion, valid, visible = self.scene.motion(pixels, WIDTH, HEIGHT, first, second)
        return FlowLabel(
            motion.T.reshape(HEIGHT, WIDTH, 2).astype(np.float32),
            valid.reshape(HEIGHT, WIDTH),
            visible.reshape(HEIGHT, WIDTH),
        )


def _grid(height: int, width: int) -> Array:
    """Return all pixels' positions, `(2, height · width)`, x then y."""
    y, x = np.mgrid[:height, :width].reshape(2, -1).astype(np.float64)
    return np.stack((x, y))


@cache
def sample_sequences() -> tuple[SceneSequence, ...]:
    """Return the sequences of the built-in target: two of 24 frames, 208x160, flow known."""
    return (SceneSequence("room", room()), SceneSequence("yard", yard()))
