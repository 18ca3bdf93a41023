import hypothesis.strategies as st
import torch
from hypothesis import given, settings

from autoflow import motion
from autoflow.draws import Draws
from autoflow.hyperparameters import BackgroundMotion, Motion
from autoflow.motion import (
    CELLS,
    REACH,
    SPAN,
    STEEPEST,
    deform,
    draw_motions,
    lattice,
    poses,
    steepness,
    undeform,
)
from selfflow.random import key


def drawn(deformation: float = 0.02, frames: int = 2, count: int = 4, layers: int = 3):
    draws = Draws(key(3, torch.arange(count))).child("layer", layers)
    extent = torch.full((count, layers, 2), 0.3, dtype=torch.float64)
    chosen = Motion(deformation=deformation)
    return draw_motions(draws, chosen, torch.zeros_like(extent), extent, frames)


def random_points(rows: int, reach: float = 1.2) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x, y = (2 * torch.rand(2, rows, 500, generator=generator) - 1) * reach
    return x, y


@settings(max_examples=20, deadline=None)
@given(st.floats(0, 0.05), st.integers(2, 6))
def test_deformation_has_no_folds(deformation, frames):
    motions = drawn(deformation, frames)
    nodes = lattice(motions.controls)[0::4].unflatten(-1, (SPAN, SPAN))
    spacing = 2 * REACH / CELLS
    across = nodes.diff(dim=-1).abs()[..., :-1, :] + nodes.diff(dim=-2).abs()[..., :, :-1]
    for time in (-0.5, 1.0, frames - 0.5):
        bend = motion.course(motions.acceleration, time).abs()
        slope = across.amax((0, -1, -2)) / spacing * bend
        assert slope.max() <= STEEPEST + 1e-9
        assert (across.amax((0, -1, -2)) / spacing <= steepness(motions.controls) + 1e-9).all()


def test_undeform_undoes_deform_at_the_steepest():
    motions = drawn(deformation=0.05)
    table = lattice(motions.controls).float().flatten(1)
    layer = torch.arange(12)
    bend = torch.linspace(-1, 1, 12)
    points = random_points(12, reach=1.6)  # also beyond the lattice
    back = undeform(table, layer, bend, deform(table, layer, bend, points))
    # One layer unit is some 150 px.
    assert torch.stack(back).sub(torch.stack(points)).abs().max() * 150 < 0.01


def test_rows_without_bend_stay_where_they_are():
    table = lattice(drawn(deformation=0.05).controls).float().flatten(1)
    points = random_points(4)
    bend = torch.tensor((0.0, 1.0, 0.0, -1.0))
    x, y = deform(table, torch.arange(4), bend, points)
    assert torch.equal(x[0::2], points[0][0::2])
    assert torch.equal(y[0::2], points[1][0::2])
    assert (x[1::2] != points[0][1::2]).any()


def test_first_frame_is_the_layer_in_its_place():
    motions = drawn()
    pose = poses(motions, torch.zeros(4, 1, dtype=torch.float64))
    in_frame = torch.diag(torch.tensor((0.3, 0.3, 1.0))).expand(4, 3, 3)
    torch.testing.assert_close(pose.outwards[:, 0], in_frame)
    on_background = torch.eye(3).expand(4, 2, 3, 3)  # all boxes have the same size here
    torch.testing.assert_close(pose.outwards[:, 1:], on_background)
    torch.testing.assert_close(pose.outwards @ pose.inwards, torch.eye(3).expand(4, 3, 3, 3))
    assert (pose.bend == 0).all()


def test_translation_has_a_long_tail():
    draws = Draws(key(0, torch.arange(20000)))
    zero = torch.zeros(20000, 2, dtype=torch.float64)
    motions = draw_motions(draws, Motion(translation=0.03, tail=0.8), zero, zero + 0.3, 2)
    length = motions.translation.norm(dim=-1)
    assert abs(length.median() - 0.03) < 0.002
    assert 0.13 < length.quantile(0.975) < 0.16  # e^(0.8 · 1.96) = 4.8 times the median


def test_a_layer_without_motion_of_its_own_rests_on_the_background():
    draws = Draws(key(0, torch.arange(1))).child("layer", 2)
    zero = torch.zeros(1, 2, 2, dtype=torch.float64)
    kinds = ("translation", "rotation", "scale", "shear", "perspective", "deformation")
    still = dict.fromkeys(kinds, 0.0)
    moving = draw_motions(draws, BackgroundMotion(), zero, zero + 0.5, 2)
    resting = draw_motions(draws, Motion(**still), zero, zero + 0.5, 2)
    joined = motion.Motions(
        **{
            name: torch.cat((getattr(moving, name)[:, :1], getattr(resting, name)[:, 1:]), 1)
            for name in vars(moving)
        }
    )
    pose = poses(joined, torch.tensor(((0.0, 1.0),), dtype=torch.float64))
    torch.testing.assert_close(pose.outwards[:, 1], torch.eye(3).expand(2, 3, 3))
    assert (pose.outwards[1, 0] != pose.outwards[0, 0]).any()
    assert pose.bend[1, 0] != 0


def test_displacement_stays_what_it_is_beyond_the_lattice():
    table = lattice(drawn(deformation=0.05).controls).float().flatten(1)
    bend, layer = torch.ones(12), torch.arange(12)
    border = torch.full((12, 1), REACH), torch.full((12, 1), 0.3)
    beyond = torch.full((12, 1), 9.0), torch.full((12, 1), 0.3)
    at_border, outside = (deform(table, layer, bend, each) for each in (border, beyond))
    torch.testing.assert_close(at_border[0] - REACH, outside[0] - 9.0, rtol=0, atol=1e-5)
    torch.testing.assert_close(at_border[1], outside[1])
    assert (at_border[0] != REACH).all()


def test_motion_of_a_clip_is_smooth():
    motions = drawn()
    times = torch.arange(6, dtype=torch.float64).expand(4, 6)
    backgrounds = poses(motions, times).outwards.view(4, 6, 3, 3, 3)[:, :, 0, :2, 2]
    steps = backgrounds.diff(dim=1)
    change = steps.diff(dim=1).norm(dim=-1)
    assert (change > 0).all()
    assert (change < 0.3 * steps[:, :-1].norm(dim=-1)).all()
