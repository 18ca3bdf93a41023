"""Augmentation: labels stay exact under every map, samples do not depend on their batch."""

import itertools

import pytest
import torch

from selfflow import affine
from selfflow.augment import (
    Augmentation,
    Colors,
    Geometry,
    augment,
    augment_colors,
    draw_maps,
    positions,
    transform,
)
from selfflow.flow import pixel_grid, warp
from selfflow.pairs import Pairs
from selfflow.random import key

FRAME, CROP = (60, 80), (32, 40)
STRONG = Geometry(
    flip_horizontal=0.5, flip_vertical=0.5, zoom=(-0.5, 1.0), stretch=0.4, rotation=40.0,
    relative_zoom=0.1, relative_rotation=5.0, relative_translation=0.05,
)  # fmt: skip


def keys(count, seed=0):
    return key(seed, torch.arange(count))


def texture(at):
    """A smooth picture that is known at every position `(B, 2, H, W)`, not only at pixels."""
    x, y = at[:, 0], at[:, 1]
    waves = (0.11 * x + 0.07 * y, 0.05 * x - 0.13 * y, 0.09 * y)
    return torch.stack([0.5 + 0.4 * wave.sin() for wave in waves], 1)


def moving_texture(count):
    """Frames of the texture under a known affine motion, whose flow is exact."""
    motion = torch.tensor([[1.02, 0.03, 1.5], [-0.02, 0.97, -2.0]]).expand(count, 2, 3)
    grid = pixel_grid(*FRAME).expand(count, -1, -1, -1)
    flow = affine.apply(motion, grid) - grid
    image2 = texture(affine.apply(affine.invert(motion), grid))
    target = grid + flow
    last = torch.tensor((FRAME[1] - 1.0, FRAME[0] - 1.0)).view(1, 2, 1, 1)
    visible = ((target >= 0) & (target <= last)).all(1, keepdim=True)
    return motion, Pairs(texture(grid), image2, flow, torch.ones_like(visible), visible)


def test_strength_zero_is_a_crop_of_whole_pixels():
    grid = pixel_grid(*FRAME).expand(8, -1, -1, -1) / 100
    flow = torch.rand(8, 2, *FRAME)
    image = torch.cat((grid, flow[:, :1]), 1)
    everything = torch.ones(8, 1, *FRAME).bool()
    result = augment(
        Pairs(image, image, flow, everything, everything), keys(8), Augmentation(), CROP, 0.0
    )
    corners = (result.image1[:, :2, 0, 0] * 100).round().long()
    assert len(corners.unique(dim=0)) > 4
    for b, (x, y) in enumerate(corners.tolist()):
        place = (b, slice(None), slice(y, y + CROP[0]), slice(x, x + CROP[1]))
        torch.testing.assert_close(result.image1[b], image[place], atol=1e-4, rtol=0)
        torch.testing.assert_close(result.image2[b], image[place], atol=1e-4, rtol=0)
        torch.testing.assert_close(result.flow[b], flow[place], atol=1e-4, rtol=0)


def test_flow_of_an_affine_motion_is_the_conjugated_map():
    motion, pairs = moving_texture(16)
    map1, map2 = draw_maps(keys(16), STRONG, FRAME, CROP)
    result = transform(pairs, map1, map2, CROP)
    # p -> map2⁻¹(motion(map1(p))), in float64 and by matrices of their own.
    bottom = torch.tensor([0.0, 0.0, 1.0]).expand(16, 1, 3)
    m, a, b = (torch.cat((x, bottom), 1).double() for x in (motion, map1, map2))
    total = torch.linalg.inv(b) @ m @ a
    grid = pixel_grid(*CROP, dtype=torch.float64)[0].flatten(1)
    points = torch.cat((grid, torch.ones_like(grid[:1])))
    expected = (total @ points)[:, :2] - grid
    assert result.valid.all()
    torch.testing.assert_close(
        result.flow.double().flatten(2), expected, atol=1e-3, rtol=0, check_dtype=False
    )


def test_warping_by_the_augmented_flow_matches_the_augmented_frames():
    _, pairs = moving_texture(16)
    crop = transform(pairs, *draw_maps(keys(16), STRONG, FRAME, CROP), CROP)
    error = (warp(crop.image2, crop.flow) - crop.image1).abs().amax(1, keepdim=True)
    assert crop.visible.float().mean() > 0.7
    assert error[crop.visible].max() < 0.02
    moved = warp(crop.image2, torch.zeros_like(crop.flow)) - crop.image1
    assert moved.abs().mean() > 0.05


def test_visible_pixels_end_inside_and_others_do_not():
    _, pairs = moving_texture(16)
    crop = transform(pairs, *draw_maps(keys(16), STRONG, FRAME, CROP), CROP)
    x, y = (pixel_grid(*CROP) + crop.flow).unbind(1)
    ends_inside = (x > 0.01) & (x < CROP[1] - 1.01) & (y > 0.01) & (y < CROP[0] - 1.01)
    outside = (x < -0.01) | (x > CROP[1] - 0.99) | (y < -0.01) | (y > CROP[0] - 0.99)
    assert not crop.visible[:, 0][outside].any()
    # The texture is visible wherever it stays inside the frame, and a crop lies inside it.
    assert crop.visible[:, 0][ends_inside].all()


def test_no_flow_is_made_up_across_an_edge():
    flow = torch.zeros(8, 2, *FRAME)
    flow[..., 41:] = torch.tensor((9.0, -4.0)).view(2, 1, 1)
    everything = torch.ones(8, 1, *FRAME).bool()
    image = torch.zeros(8, 3, *FRAME)
    map1, map2 = draw_maps(keys(8), STRONG, FRAME, CROP)
    result = transform(Pairs(image, image, flow, everything), map1, map2, CROP)
    grid = pixel_grid(*CROP)
    source = affine.apply(map1, grid)
    recovered = affine.apply(map2, grid + result.flow) - source
    right = source[:, :1] > 40.5
    expected = torch.where(right, torch.tensor((9.0, -4.0)).view(1, 2, 1, 1), 0)
    clear = ((source[:, :1] - 40.5).abs() > 1e-3).expand_as(expected)
    torch.testing.assert_close(recovered[clear], expected[clear], atol=1e-3, rtol=0)


def test_unknown_flow_stays_unknown_and_known_flow_is_untouched_by_it():
    known = torch.rand(4, 1, *FRAME) > 0.7
    flow = torch.where(known, 3.0, float("nan")).expand(-1, 2, -1, -1)
    image = torch.zeros(4, 3, *FRAME)
    pairs = Pairs(image, image, flow, known)
    result = augment(pairs, keys(4), Augmentation(geometry=STRONG), CROP)
    assert 0.2 < result.valid.float().mean() < 0.4
    assert result.flow.isfinite().all()
    map1, map2 = draw_maps(keys(4), STRONG, FRAME, CROP)
    grid = pixel_grid(*CROP)
    recovered = affine.apply(map2, grid + result.flow) - affine.apply(map1, grid)
    there = result.valid.expand(-1, 2, -1, -1)
    torch.testing.assert_close(
        recovered[there], torch.full_like(recovered[there], 3), atol=1e-3, rtol=0
    )


def test_sparse_labels_are_taken_from_the_nearest_pixel_and_not_mixed():
    known = torch.rand(3, 1, *FRAME) > 0.8
    known[:, :, :20, :30] = True  # dense there, but neighbours differ
    flow = torch.where(known, 40 * torch.rand(3, 2, *FRAME), float("nan"))
    image = torch.zeros(3, 3, *FRAME)
    map1, map2 = draw_maps(keys(3), STRONG, FRAME, CROP)
    result = transform(Pairs(image, image, flow, known), map1, map2, CROP)
    source = affine.apply(map1.double(), pixel_grid(*CROP).double())
    inverse = affine.invert(map2.double())
    checked = 0
    for b, y, x in itertools.product(range(3), range(0, CROP[0], 3), range(0, CROP[1], 3)):
        at = source[b, :, y, x]
        if ((at - at.floor() - 0.5).abs() < 1e-3).any():
            continue  # which one is nearest is up to rounding
        column, row = (int(value) for value in at.round())
        assert result.valid[b, 0, y, x] == known[b, 0, row, column]
        if known[b, 0, row, column]:
            end = inverse[b, :, :2] @ (at + flow[b, :, row, column]) + inverse[b, :, 2]
            expected = (end - torch.tensor((x, y))).float()
            torch.testing.assert_close(result.flow[b, :, y, x], expected, atol=1e-3, rtol=0)
            checked += 1
    assert checked > 50


def test_crops_never_leave_their_frames():
    for crop in (CROP, (60, 80), (100, 120)):
        for maps in draw_maps(keys(500), STRONG, FRAME, crop):
            corner = positions(maps, *crop)[..., :: crop[0] - 1, :: crop[1] - 1].flatten(2)
            assert corner.amin() > -1e-3
            assert corner[:, 0].max() < FRAME[1] - 1 + 1e-3
            assert corner[:, 1].max() < FRAME[0] - 1 + 1e-3


def test_draws_span_their_ranges():
    geometry = Geometry(zoom=(0.0, 0.5), stretch=0, rotation=20, relative_rotation=0)
    maps, _ = draw_maps(keys(2000), geometry, (400, 400), (40, 40))
    zoom = -torch.linalg.det(maps[:, :, :2]).abs().log2() / 2
    assert zoom.min() > -1e-4
    assert zoom.max() < 0.5 + 1e-4
    assert zoom.max() - zoom.min() > 0.45
    assert abs((torch.linalg.det(maps[:, :, :2]) < 0).float().mean() - 0.5) < 0.05
    tilt = torch.rad2deg((maps[:, 0, 1].abs() / maps[:, :, 1].norm(dim=1)).asin())
    assert 18 < tilt.max() < 20.01


def test_a_mirrored_pair_has_mirrored_flow():
    _, pairs = moving_texture(2)
    mirror = Geometry(
        flip_horizontal=1, flip_vertical=0, zoom=(0, 0), stretch=0, rotation=0,
        relative_zoom=0, relative_rotation=0, relative_translation=0,
    )  # fmt: skip
    result = transform(pairs, *draw_maps(keys(2), mirror, FRAME, FRAME), FRAME)
    torch.testing.assert_close(result.image1, pairs.image1.flip(3), atol=1e-4, rtol=0)
    flow = pairs.flow.flip(3) * torch.tensor((-1.0, 1.0)).view(1, 2, 1, 1)
    torch.testing.assert_close(result.flow, flow, atol=1e-4, rtol=0)


def test_a_sample_does_not_depend_on_its_batch():
    _, pairs = moving_texture(3)
    whole = augment(pairs, keys(3), Augmentation(), CROP)
    part = Pairs(
        *(getattr(pairs, n)[1:2] for n in ("image1", "image2", "flow", "valid", "visible"))
    )
    alone = augment(part, keys(3)[1:2], Augmentation(), CROP)
    for name in ("image1", "image2", "flow", "valid", "visible"):
        torch.testing.assert_close(getattr(alone, name), getattr(whole, name)[1:2])


def test_frames_without_labels_are_augmented_alike():
    _, pairs = moving_texture(3)
    labelled = augment(pairs, keys(3), Augmentation(), CROP)
    unlabelled = augment(Pairs(pairs.image1, pairs.image2), keys(3), Augmentation(), CROP)
    assert unlabelled.flow is None
    torch.testing.assert_close(unlabelled.image1, labelled.image1)
    torch.testing.assert_close(unlabelled.image2, labelled.image2)


def test_positions_may_begin_outside_the_crop():
    maps, _ = draw_maps(keys(2), STRONG, FRAME, CROP)
    window = positions(maps, CROP[0] + 10, CROP[1] + 20, origin=(-10, -5))
    torch.testing.assert_close(window[:, :, 5:-5, 10:-10], positions(maps, *CROP))


def test_colours_stay_colours_and_equal_frames_stay_equal():
    image = torch.rand(16, 3, 20, 20)
    alike = Colors(asymmetric=0, noise=0, erase=0)
    first, second = augment_colors(image, image, keys(16), alike)
    torch.testing.assert_close(first, second)
    assert first.min() >= 0
    assert first.max() <= 1
    assert ((first - image).abs().mean((1, 2, 3)) > 0.01).float().mean() > 0.8
    first, second = augment_colors(image, image, keys(16), Colors(asymmetric=1, noise=0, erase=0))
    assert ((first - second).abs().mean((1, 2, 3)) > 0.01).float().mean() > 0.8


def test_strength_zero_leaves_colours():
    image1, image2 = torch.rand(4, 3, 20, 20), torch.rand(4, 3, 20, 20)
    first, second = augment_colors(image1, image2, keys(4), Colors(), strength=0.0)
    torch.testing.assert_close(first, image1, atol=1e-5, rtol=0)
    torch.testing.assert_close(second, image2, atol=1e-5, rtol=0)


def test_an_unknown_strength_is_refused():
    with pytest.raises(ValueError, match="tilt"):
        Geometry(tilt=3)
