import pytest
import torch
from torch import Tensor

from representation.correspondence import View, correspondence
from representation.views import ViewSettings, draw_affines, draw_crops, make_view
from selfflow import affine
from selfflow.flow import pixel_grid, sample
from selfflow.random import key

PLAIN = {"jitter": 0.0, "grey": 0.0, "blur": 0.0}


def settings(**values: object) -> ViewSettings:
    return ViewSettings.model_validate({"height": 48, "width": 64, "distortion": PLAIN} | values)


def sizes(keys: Tensor, height: int, width: int) -> Tensor:
    return torch.tensor((height, width)).expand(len(keys), 2)


def smooth_frames(count: int, height: int, width: int) -> Tensor:
    """Return colours that vary slowly, so that interpolation errors are small."""
    x, y = pixel_grid(height, width)[0]
    waves = [torch.sin(x / 9 + c) * torch.cos(y / 11 - c) for c in range(3 * count)]
    return 0.5 + 0.4 * torch.stack(waves).view(count, 3, height, width)


def whole_view(frames: Tensor) -> View:
    """Return the view that shows the frame as it is."""
    batch, _, height, width = frames.shape
    corner = torch.tensor((width - 1.0, height - 1.0)).expand(batch, 2)
    return View(frames, affine.identity(batch), torch.zeros(batch, 2), corner)


def test_identity_maps_give_the_identity():
    view = whole_view(smooth_frames(2, 40, 50))
    u = pixel_grid(40, 50)
    targets, valid = correspondence(view, view, u)
    assert torch.equal(targets, u.expand(2, -1, -1, -1))
    assert valid.all()


def test_the_same_random_view_gives_the_identity_where_valid():
    frames, keys = smooth_frames(3, 96, 128), key(0, torch.arange(3))
    crop = draw_crops(keys, sizes(keys, 96, 128), settings())
    view = make_view(frames, keys, crop, settings())
    u = pixel_grid(48, 64)
    targets, valid = correspondence(view, view, u)
    torch.testing.assert_close(targets, u.expand(3, -1, -1, -1), atol=1e-3, rtol=0)
    assert valid.float().mean() > 0.4


def test_a_constant_shift_is_added():
    view = whole_view(smooth_frames(1, 40, 50))
    flow = torch.tensor((7.0, -3.0)).view(1, 2, 1, 1).expand(1, 2, 40, 50)
    u = pixel_grid(40, 50)
    targets, valid = correspondence(view, view, u, flow)
    torch.testing.assert_close(targets, u + flow)
    x, y = u[:, :1], u[:, 1:]
    assert torch.equal(valid, (x <= 49 - 7) & (y >= 3))


def test_correspondence_equals_a_point_by_point_calculation():
    """The definition, in plain float64 numbers, one point at a time."""
    frames, keys = smooth_frames(2, 80, 110), key(5, torch.arange(2))
    wanted = settings(zoom=(0.75, 1.25))
    crop = draw_crops(keys, sizes(keys, 80, 110), wanted)
    view1 = make_view(frames, keys, crop, wanted)
    view2 = make_view(frames, key(6, torch.arange(2)), crop, wanted)
    grid = pixel_grid(80, 110)
    flow = torch.cat((5 + 0.05 * grid[:, 1:], -3 + 0.02 * grid[:, :1]), 1).expand(2, -1, -1, -1)
    visible = (grid[:, :1] < 70).expand(2, -1, -1, -1)
    targets, valid = correspondence(view1, view2, pixel_grid(48, 64), flow, visible)
    seen = {True: 0, False: 0}
    for b in range(2):
        a1, a2 = view1.to_frame[b].double(), view2.to_frame[b].double()
        low, high = view1.low[b].double(), view1.high[b].double()
        for row in range(0, 48, 5):
            for column in range(0, 64, 5):
                x = a1[:, :2] @ torch.tensor((column, row)).double() + a1[:, 2]
                y = x + torch.stack((5 + 0.05 * x[1], -3 + 0.02 * x[0]))
                place = torch.linalg.solve(a2[:, :2], y - a2[:, 2])
                holds = (
                    bool((x >= low).all() & (x <= high).all())
                    and bool((y >= low).all() & (y <= high).all())
                    and 0 <= float(place[0]) <= 63
                    and 0 <= float(place[1]) <= 47
                    and bool(x[0].round() < 70)
                )
                assert valid[b, 0, row, column] == holds
                seen[holds] += 1
                if holds:
                    found = targets[b, :, row, column].double()
                    torch.testing.assert_close(found, place, atol=1e-3, rtol=0)
    assert min(seen.values()) > 20


def test_corresponding_points_have_the_same_colour():
    """Two views of two frames, of which the second is the first one moved by a known flow."""
    frames = smooth_frames(2, 100, 140)
    grid = pixel_grid(100, 140)
    flow = torch.cat((2 + 0.01 * grid[:, 1:], 1 - 0.015 * grid[:, :1]), 1).expand(2, -1, -1, -1)
    # frame1(x) = frame2(x + flow(x)).
    first = sample(frames, grid + flow)
    keys = key(1, torch.arange(2))
    wanted = settings(height=64, width=80)
    crop = draw_crops(keys, sizes(keys, 100, 140), wanted)
    view1 = make_view(first, keys, crop, wanted)
    view2 = make_view(frames, key(2, torch.arange(2)), crop, wanted)
    targets, valid = correspondence(view1, view2, pixel_grid(64, 80), flow)
    difference = (sample(view2.images, targets) - view1.images).abs()
    # A pixel next to painted ones is mixed with them.
    inner = torch.nn.functional.max_pool2d((~valid).float(), 3, 1, 1) == 0
    assert inner.float().mean() > 0.2
    assert difference.mean(1, keepdim=True)[inner].max() < 0.03


def test_flow_that_is_not_a_number_is_not_valid():
    view = whole_view(smooth_frames(1, 10, 12))
    flow = torch.zeros(1, 2, 10, 12)
    flow[0, :, 4, 5] = torch.nan
    _, valid = correspondence(view, view, pixel_grid(10, 12), flow)
    assert not valid[0, 0, 4, 5]
    assert valid[0, 0, 8, 9]


def test_crops_lie_in_the_frame_and_keep_their_zoom():
    keys = key(0, torch.arange(300))
    wanted = settings(zoom=(0.75, 1.25))
    crop = draw_crops(keys, sizes(keys, 100, 140), wanted)
    corners = torch.tensor(((0.0, 63.0), (0.0, 47.0)))[None, :, None]
    low, high = affine.apply(crop, corners)[:, :, 0].unbind(2)
    assert (low >= 0).all()
    assert (high <= torch.tensor((139.0, 99.0)) + 1e-4).all()
    step = crop[:, 0, 0]
    assert torch.equal(step, crop[:, 1, 1])
    assert 0.8 <= step.min() < 0.82
    assert 1.31 < step.max() <= 1 / 0.75 + 1e-6
    assert low[:, 0].min() < 5
    assert high[:, 0].max() > 134


def test_a_crop_larger_than_the_frame_is_zoomed_in():
    crop = draw_crops(
        key(0, torch.arange(4)), sizes(key(0, torch.arange(4)), 20, 30), settings(zoom=(0.75, 1.0))
    )
    assert (crop[:, 0, 0] * 63 <= 29 + 1e-4).all()
    assert (crop[:, 1, 1] * 47 <= 19 + 1e-4).all()


def test_affine_views_scale_and_turn_within_their_ranges_about_the_centre():
    maps = draw_affines(key(0, torch.arange(500)), settings())
    scale = maps[:, :, 0].norm(dim=1)
    angle = torch.rad2deg(torch.atan2(maps[:, 1, 0], maps[:, 0, 0]))
    assert 0.5 <= scale.min() < 0.52
    assert 1.9 < scale.max() <= 2.0
    assert (scale < 1).float().mean() == pytest.approx(0.5, abs=0.07)
    assert -30 <= angle.min() < -28
    assert 28 < angle.max() <= 30
    centre = torch.tensor((31.5, 23.5)).view(1, 2, 1, 1)
    fixed = affine.apply(maps, centre)
    torch.testing.assert_close(fixed, centre.expand_as(fixed), atol=1e-4, rtol=0)


def test_without_affine_maps_and_zoom_a_view_is_the_crop_itself():
    frames, keys = torch.rand(2, 3, 60, 80), key(0, torch.arange(2))
    wanted = settings(affine=False, zoom=(1.0, 1.0))
    crop = draw_crops(keys, sizes(keys, 60, 80), wanted)
    view = make_view(frames, keys, crop, wanted)
    for b in range(2):
        x, y = crop[b, :, 2].long().tolist()
        torch.testing.assert_close(view.images[b], frames[b, :, y : y + 48, x : x + 64])


def test_what_lies_outside_the_crop_is_zero_to_the_encoder():
    frames, keys = torch.rand(1, 3, 60, 80), key(0, torch.arange(1))
    wanted = settings(scale=(0.5, 0.5), rotation=0.0)
    view = make_view(frames, keys, draw_crops(keys, sizes(keys, 60, 80), wanted), wanted)
    mean = torch.tensor((0.485, 0.456, 0.406))
    torch.testing.assert_close(view.images[0, :, 0, 0], mean)
    outside = (view.images[0] == mean.view(3, 1, 1)).all(0)
    assert outside.float().mean() == pytest.approx(0.75, abs=0.05)


def test_with_surroundings_a_view_shows_its_frame_as_far_as_there_is_one():
    frames, keys = torch.rand(2, 3, 60, 80), key(0, torch.arange(2))
    wanted = settings(scale=(0.5, 0.5), rotation=0.0, zoom=(1.0, 1.0), surroundings=True)
    crop = draw_crops(keys, sizes(keys, 60, 80), wanted)
    view = make_view(frames, keys, crop, wanted)
    assert torch.equal(view.low, torch.zeros(2, 2))
    assert torch.equal(view.high, torch.tensor((79.0, 59.0)).expand(2, 2))
    positions = affine.apply(view.to_frame, pixel_grid(48, 64))
    mean = torch.tensor((0.485, 0.456, 0.406)).view(1, 3, 1, 1)
    expected = torch.where(view.shows(positions), sample(frames, positions), mean)
    torch.testing.assert_close(view.images, expected)
    assert view.shows(positions).float().mean() > 0.3
    # The second frame is padded: it is no larger than 30 x 40.
    small = torch.tensor(((60, 80), (30, 40)))
    view = make_view(frames, keys, draw_crops(keys, small, wanted), wanted, small)
    assert view.high.tolist() == [[79.0, 59.0], [39.0, 29.0]]


def test_views_are_shifted_by_up_to_a_share_of_their_size():
    maps = draw_affines(key(0, torch.arange(500)), settings(shift=0.25))
    centre = torch.tensor((31.5, 23.5)).view(1, 2, 1, 1)
    moved = (affine.apply(maps, centre) - centre)[:, :, 0, 0]
    for side, most in ((0, 16.0), (1, 12.0)):
        assert -most <= moved[:, side].min() < -0.97 * most
        assert 0.97 * most < moved[:, side].max() <= most
    plain = draw_affines(key(0, torch.arange(500)), settings())
    torch.testing.assert_close(maps[:, :, :2], plain[:, :, :2])
