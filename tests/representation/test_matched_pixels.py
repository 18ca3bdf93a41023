from collections.abc import Callable

import torch

from representation.correspondence import correspondence
from representation.distortion import Distortion
from representation.encoder import cell_positions
from representation.matched_pixels import (
    MatchedViews,
    draw_matches,
    draw_matching_crops,
    found_in,
    take_matched_views,
)
from representation.method import Frames
from selfflow import affine
from selfflow.flow import sample
from selfflow.random import key
from selfflow.runs.config import load

MakeFrames = Callable[..., Frames]
CELLS = cell_positions(6, 8, 4)
PLAIN = Distortion(jitter=0.0, grey=0.0, blur=0.0)


def settings(**values: object) -> MatchedViews:
    small = {"height": 24, "width": 32, "pixels": 5, "first": PLAIN, "second": PLAIN}
    return load(MatchedViews, values=small | values)


def keys_and_sizes(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    return key(0, torch.arange(count)), torch.tensor((48, 64)).expand(count, 2)


def test_both_pixels_of_a_match_are_the_same_point(frames_of: MakeFrames):
    """Two ways: by the maps to the frame, and by what the images show there."""
    pair = take_matched_views(frames_of(32), settings(scale=(0.5, 1.0)), CELLS)
    assert pair.positions.shape == pair.targets.shape == (32, 2, 1, 5)
    here = affine.apply(pair.view1.to_frame, pair.positions)
    there = affine.apply(pair.view2.to_frame, pair.targets)
    torch.testing.assert_close(here, there, rtol=0, atol=1e-3)
    assert (pair.positions - pair.targets).abs().amax((1, 2, 3)).min() > 0.1
    seen = [
        sample(view.images, positions)
        for view, positions in ((pair.view1, pair.positions), (pair.view2, pair.targets))
    ]
    assert (seen[0] - seen[1]).abs().mean() < 0.03
    assert (seen[0] - seen[1].roll(1, 3)).abs().mean() > 0.1


def test_matches_are_different_cells_that_both_views_show(frames_of: MakeFrames):
    pair = take_matched_views(frames_of(16), settings(), CELLS)
    found, valid = correspondence(pair.view1, pair.view2, CELLS)
    for i in range(16):
        places = (pair.positions[i, :, 0] / 4).long()
        assert torch.equal(4.0 * places, pair.positions[i, :, 0])
        assert len(set(map(tuple, places.T.tolist()))) == 5
        x, y = places
        assert valid[i, 0, y, x].all()
        torch.testing.assert_close(pair.targets[i, :, 0], found[i, :, y, x], rtol=0, atol=1e-3)
    torch.testing.assert_close(pair.valid, valid.float().mean((1, 2, 3)))
    assert 0.1 < pair.valid.mean() < 0.9


def test_every_shared_cell_is_as_likely():
    """Of an image and itself, 2 of 6 cells; the share of each is 1/3 within four deviations."""
    count = 2000
    wanted, cells = settings(sampling="same", pixels=2), cell_positions(2, 3, 4)
    keys, sizes = keys_and_sizes(count)
    maps = draw_matching_crops(keys, sizes, wanted, cells)
    positions, _ = draw_matches(keys, *maps, wanted, cells)
    number = (positions[:, 0, 0] / 4 + 3 * positions[:, 1, 0] / 4).long()
    share = number.flatten().bincount(minlength=6) / count
    assert ((share - 1 / 3).abs() < 4 * (2 / 9 / count) ** 0.5).all()


def test_views_share_as_many_pixels_as_are_wanted():
    wanted = settings(pixels=40)
    keys, sizes = keys_and_sizes(64)
    shared = [
        found_in(*draw_matching_crops(keys, sizes, s, CELLS), s, CELLS)[1].sum((1, 2, 3))
        for s in (wanted, settings(pixels=1))
    ]
    assert shared[0].min() >= 40
    assert shared[1].min() >= 1
    assert (shared[1] < 40).any()
    # Where the first attempt is good enough, it is taken.
    enough = shared[1] >= 40
    assert torch.equal(shared[0][enough], shared[1][enough])


def test_views_that_never_share_enough_are_the_same():
    """Tiny crops of a large frame."""
    wanted = settings(scale=(1e-4, 2e-4))
    keys = key(0, torch.arange(2))
    sizes = torch.tensor((4000, 4000)).expand(2, 2)
    first, second = draw_matching_crops(keys, sizes, wanted, CELLS)
    assert torch.equal(first, second)


def test_crops_are_functions_of_each_sample_alone():
    wanted = settings(pixels=40)
    keys, sizes = keys_and_sizes(12)
    whole = draw_matching_crops(keys, sizes, wanted, CELLS)
    matches = draw_matches(keys, *whole, wanted, CELLS)
    for i in range(12):
        one = draw_matching_crops(keys[i : i + 1], sizes[:1], wanted, CELLS)
        again = draw_matches(keys[i : i + 1], *one, wanted, CELLS)
        for a, b in zip((*one, *again), (*whole, *matches), strict=True):
            assert torch.equal(a[0], b[i])


def test_the_same_view_twice_matches_each_pixel_with_itself(frames_of: MakeFrames):
    pair = take_matched_views(frames_of(8), settings(sampling="same"), CELLS)
    assert torch.equal(pair.view1.to_frame, pair.view2.to_frame)
    assert torch.equal(pair.view1.images, pair.view2.images)
    torch.testing.assert_close(pair.positions, pair.targets, rtol=0, atol=1e-3)
    assert (pair.valid == 1).all()
    mirrored = pair.view1.to_frame[:, 0, 0] < 0
    assert mirrored.any()
    assert not mirrored.all()


def test_unmatched_views_are_those_of_matched_ones_with_any_pixels(frames_of: MakeFrames):
    frames = frames_of(32)
    pair = take_matched_views(frames, settings(sampling="unmatched"), CELLS)
    matched = take_matched_views(frames, settings(), CELLS)
    assert torch.equal(pair.view1.images, matched.view1.images)
    assert torch.equal(pair.view2.images, matched.view2.images)
    for positions in (pair.positions, pair.targets):
        assert torch.equal(positions % 4, torch.zeros_like(positions))
        # All over the view, also where the other one shows nothing.
        assert positions.amin((0, 2, 3)).tolist() == [0, 0]
        assert positions.amax((0, 2, 3)).tolist() == [28, 20]
    here = affine.apply(pair.view1.to_frame, pair.positions)
    there = affine.apply(pair.view2.to_frame, pair.targets)
    assert (here - there).abs().mean() > 5
    assert (pair.positions - pair.targets).abs().mean() > 2


def test_each_view_has_its_own_distortion(frames_of: MakeFrames):
    inverted = PLAIN.model_copy(update={"solarise": 1.0, "threshold": 0.0})
    frames = frames_of(3)
    plain = take_matched_views(frames, settings(), CELLS)
    second = take_matched_views(frames, settings(second=inverted), CELLS)
    assert torch.equal(second.view1.images, plain.view1.images)
    torch.testing.assert_close(second.view2.images, 1 - plain.view2.images)
