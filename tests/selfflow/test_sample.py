"""The built-in target's flow is exact, seen by other means than the ray caster's own formulas."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from selfflow.flow import warp
from selfflow.labelled import flow_tensor, image_tensor, mask_tensor
from selfflow.raycast import Camera, Scene, Solid, rotation
from selfflow.sample import HEIGHT, WIDTH, SceneSequence, room, sample_sequences, yard

SEQUENCES = sample_sequences()


def turned(turn: tuple[float, float, float]) -> Rotation:
    pitch, yaw, roll = turn
    return Rotation.from_euler("YXZ", [yaw, pitch, roll])


def within(solid: Solid, points: np.ndarray, time: float) -> np.ndarray:
    """Which points `(N, 3)` of the world lie in a solid, from its definition."""
    own = turned(solid.turn(time)).inv().apply(points - np.array(solid.centre(time)))
    unit = np.abs(own / np.array(solid.extent))
    return (unit**2).sum(1) < 1 if solid.round else unit.max(1) < 1


def traced(scene: Scene, x: float, y: float, time: float) -> tuple[Solid, np.ndarray]:
    """March along a ray until a solid is entered (or a hollow one left), in ever smaller steps."""
    focal = scene.camera.focal * WIDTH
    seen = np.array([(x - (WIDTH - 1) / 2) / focal, (y - (HEIGHT - 1) / 2) / focal, 1.0])
    direction = turned(scene.camera.turn(time)).apply(seen)
    depths = np.geomspace(0.1, 120, 10000)
    for _ in range(5):
        points = np.array(scene.camera.position(time)) + depths[:, None] * direction
        struck = np.stack([within(s, points, time) != s.hollow for s in scene.solids])
        first = int(struck.any(0).argmax())
        assert first > 0
        depths = np.linspace(depths[first - 1], depths[first], 300)
    return scene.solids[int(struck[:, first].argmax())], points[first]


def projected(camera: Camera, point: np.ndarray, time: float) -> np.ndarray:
    seen = turned(camera.turn(time)).inv().apply(point - np.array(camera.position(time)))
    focal = camera.focal * WIDTH
    return seen[:2] / seen[2] * focal + np.array([(WIDTH - 1) / 2, (HEIGHT - 1) / 2])


@pytest.mark.parametrize("sequence", SEQUENCES, ids=lambda s: s.name)
def test_flow_is_that_of_points_traced_by_marching(sequence: SceneSequence) -> None:
    generator = np.random.default_rng(0)
    label, scene = sequence.flow(7), sequence.scene
    assert label is not None
    errors, agreeing = [], 0
    for x, y in generator.integers(0, (WIDTH, HEIGHT), (60, 2)):
        solid, point = traced(scene, x, y, 7)
        own = turned(solid.turn(7)).inv().apply(point - np.array(solid.centre(7)))
        moved = turned(solid.turn(8)).apply(own) + np.array(solid.centre(8))
        errors.append(np.abs(projected(scene.camera, moved, 8) - (x, y) - label.flow[y, x]).max())
        # What the march finds at the target tells whether the point is seen there.
        target = projected(scene.camera, moved, 8)
        if (target >= 0).all() and (target <= (WIDTH - 1, HEIGHT - 1)).all():
            found, met = traced(scene, *target, 8)
            seen = found is solid and bool(np.linalg.norm(met - moved) < 1e-4)
        else:
            seen = False
        agreeing += seen == label.visible[y, x]  # type: ignore[index]
    # One ray may graze an edge by less than a step of the march.
    assert sorted(errors)[-2] < 1e-4
    assert agreeing >= len(errors) - 1


@pytest.mark.parametrize("scene", [room(), yard()], ids=["room", "yard"])
def test_without_light_frames_warped_back_match(scene: Scene) -> None:
    """Under ambient light alone surfaces keep their colours."""
    unlit = tuple(replace(solid, glossy=0.0) for solid in scene.solids)
    sequence = SceneSequence("unlit", replace(scene, solids=unlit, ambient=1.0))
    for index in (2, 12):
        assert warped_back_psnr(sequence, index) > 31


@pytest.mark.parametrize("sequence", SEQUENCES, ids=lambda s: s.name)
def test_frames_warped_back_match(sequence: SceneSequence) -> None:
    ratios = [warped_back_psnr(sequence, index) for index in (0, 5, 11, 17, 22)]
    assert np.mean(ratios) > 30  # shadows and highlights move over surfaces


def warped_back_psnr(sequence: SceneSequence, index: int) -> float:
    label = sequence.flow(index)
    assert label is not None
    assert label.visible is not None
    first, second = (image_tensor(sequence.frame(k)) for k in (index, index + 1))
    visible = mask_tensor(label.visible).expand_as(first)
    error = (warp(second, flow_tensor(label.flow)) - first)[visible].square().mean()
    return float(-10 * error.log10())


@pytest.mark.parametrize("sequence", SEQUENCES, ids=lambda s: s.name)
def test_forward_and_backward_flow_cancel_where_visible(sequence: SceneSequence) -> None:
    forward, backward = sequence.motion(4, 5), sequence.motion(5, 4)
    returned = warp(flow_tensor(backward.flow), flow_tensor(forward.flow))
    error = (returned + flow_tensor(forward.flow)).norm(dim=1)[0].numpy()
    assert np.quantile(error[forward.visible], 0.95) < 0.05  # interpolation blurs edges


def test_a_ball_covers_what_is_behind_it_and_uncovers_it() -> None:
    def white(points: np.ndarray) -> np.ndarray:
        return np.ones_like(points)

    still = Camera(1.0, lambda t: (0.0, 0.0, 0.0), lambda t: (0.0, 0.0, 0.0))
    wall = Solid(False, (50.0, 50.0, 50.0), white, lambda t: (0.0, 0.0, -40.0), hollow=True)
    ball = Solid(True, (0.5, 0.5, 0.5), white, lambda t: (0.2 * t, 0.0, 4.0))
    scene = Scene((wall, ball), still, (0.0, 0.0, 0.0), 1.0, (0.0, 0.0, 0.0), 1e9)
    label = SceneSequence("ball", scene).flow(0)
    assert label is not None
    assert label.visible is not None
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    x, y = (x - (WIDTH - 1) / 2) / WIDTH, (y - (HEIGHT - 1) / 2) / WIDTH
    # Silhouettes of a ball at depth 4, by the tangent cone: (d·c)² > |d|² (|c|² - r²).
    before, after = (
        ((x * cx + 4) ** 2 > (x**2 + y**2 + 1) * (cx**2 + 16 - 0.25)) for cx in (0.0, 0.2)
    )
    # The ball's own points: nearest crossing of the ray, moved by 0.2 m.
    a, c = x**2 + y**2 + 1, 16 - 0.25
    depth = (4 - np.sqrt(np.maximum(16 - a * c, 0))) / a
    np.testing.assert_allclose(label.flow[..., 0][before], (0.2 / depth * WIDTH)[before], rtol=1e-6)
    assert np.abs(label.flow[~before]).max() < 1e-12
    np.testing.assert_array_equal(label.visible[~before], ~after[~before])


def test_the_lamp_casts_a_shadow() -> None:
    lit = SEQUENCES[1].scene
    pixels = np.stack(np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))).reshape(2, -1) * 1.0
    behind = replace(lit, lamp=(0.0, 60.0, 0.0))  # under the ground
    assert (
        lit.colors(pixels, WIDTH, HEIGHT, 0).mean()
        > 1.2 * behind.colors(pixels, WIDTH, HEIGHT, 0).mean()
    )


def test_rotation_is_yaw_after_pitch_after_roll() -> None:
    turn = (0.3, -0.7, 1.1)
    np.testing.assert_allclose(rotation(turn), turned(turn).as_matrix(), atol=1e-12)


def test_there_are_enough_frames_with_motion_of_a_video_and_lively_pictures() -> None:
    assert sum(map(len, SEQUENCES)) >= 40
    assert all(len(sequence) >= 24 for sequence in SEQUENCES)
    for sequence in SEQUENCES:
        label = sequence.flow(10)
        assert label is not None
        assert label.valid.all()
        length = np.linalg.norm(label.flow, axis=-1)
        assert 1 < length.mean() < 6
        assert 4.5 < length.max() < 20
        assert sequence.frame(10).std() > 30
        assert sequence.flow(23) is None
        assert sequence.labelled == range(23)


def test_frames_are_the_same_each_time() -> None:
    again = SceneSequence("room", room())
    np.testing.assert_array_equal(again.frame(3), SEQUENCES[0].frame(3))
    with pytest.raises(IndexError):
        again.frame(24)
