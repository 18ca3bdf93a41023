from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from representation import overlap
from representation.correspondence import View
from representation.crops import draw_boxes
from representation.distortion import BYOL_1, BYOL_2
from representation.method import Frames
from representation.overlap import (
    OverlapViews,
    common_part,
    draw_overlapping_boxes,
    intersection_over_union,
    matched_picture,
    shown_by_other,
    take_overlapping_views,
)
from selfflow import affine
from selfflow.flow import pixel_grid
from selfflow.random import key, purpose

MakeFrames = Callable[..., Frames]


def settings(**values: object) -> OverlapViews:
    return OverlapViews.model_validate({"height": 24, "width": 32} | values)


def sizes(count: int, height: int = 90, width: int = 120) -> Tensor:
    return torch.tensor((height, width)).expand(count, 2)


def test_the_defaults_are_the_papers():
    views = OverlapViews()
    assert (views.height, views.width, views.scale) == (224, 224, (0.08, 1.0))
    assert (views.first, views.second, views.iou) == (BYOL_1, BYOL_2, 0.5)


def test_intersection_over_union_counts_pixels():
    first = torch.tensor([(0, 0, 4, 4), (0, 0, 4, 4), (0, 0, 4, 4), (2, 3, 5, 6), (1, 1, 2, 9)])
    second = torch.tensor([(0, 0, 4, 4), (2, 2, 4, 4), (4, 0, 3, 3), (3, 1, 9, 5), (0, 5, 7, 2)])
    expected = []
    for one, other in zip(first.tolist(), second.tolist(), strict=True):
        pixels = [
            {(x + column, y + row) for column in range(width) for row in range(height)}
            for x, y, width, height in (one, other)
        ]
        expected.append(len(pixels[0] & pixels[1]) / len(pixels[0] | pixels[1]))
    found = intersection_over_union(first.float(), second.float())
    torch.testing.assert_close(found, torch.tensor(expected))
    assert found[:3].tolist() == [1.0, pytest.approx(4 / 28), 0.0]


@pytest.mark.parametrize(("iou", "scale"), [(0.0, (0.08, 0.2)), (0.5, (0.08, 1.0))])
def test_boxes_are_the_first_pair_that_overlaps_enough(iou: float, scale: tuple[float, float]):
    """One sample and one attempt at a time."""
    keys, wanted = key(3, torch.arange(12)), settings(iou=iou, scale=scale)
    firsts, seconds = draw_overlapping_boxes(keys, sizes(12), wanted)
    attempts = []
    for one, first, second in zip(keys, firsts, seconds, strict=True):
        for attempt in range(overlap.ATTEMPTS):
            drawn = [
                draw_boxes(
                    purpose(purpose(one, "overlap", attempt), "box", n)[None], sizes(1), wanted
                )
                for n in (1, 2)
            ]
            if intersection_over_union(*drawn) > iou:
                break
        attempts.append(attempt)
        assert torch.equal(first, drawn[0][0])
        assert torch.equal(second, drawn[1][0])
    assert (intersection_over_union(firsts, seconds) > iou).all()
    assert max(attempts) > 1  # the later ones matter


def test_a_sample_depends_on_its_key_and_size_alone(monkeypatch: pytest.MonkeyPatch):
    keys, wanted = key(5, torch.arange(12)), settings(iou=0.7)
    mixed = torch.tensor([(47, 61), (90, 50)]).repeat(6, 1)
    whole = torch.cat(draw_overlapping_boxes(keys, mixed, wanted), 1)
    for i in range(12):
        alone = draw_overlapping_boxes(keys[i : i + 1], mixed[i : i + 1], wanted)
        assert torch.equal(torch.cat(alone, 1)[0], whole[i])
    monkeypatch.setattr(overlap, "ROUND", 4)
    assert torch.equal(torch.cat(draw_overlapping_boxes(keys, mixed, wanted), 1), whole)


def test_where_no_pair_overlaps_enough_both_boxes_are_the_same(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(overlap, "ATTEMPTS", overlap.ROUND)
    keys, wanted = key(0, torch.arange(20)), settings(iou=0.95)
    first, second = draw_overlapping_boxes(keys, sizes(20), wanted)
    same = (first == second).all(1)
    assert same.float().mean() > 0.5
    assert (intersection_over_union(first, second) > 0.95).all()
    assert len(first[same].unique(dim=0)) == same.sum()


def test_views_show_their_boxes_and_are_mirrored_by_themselves(frames_of: MakeFrames):
    frames, wanted = frames_of(40), settings()
    boxes = draw_overlapping_boxes(frames.keys, frames.sizes, wanted)
    views = take_overlapping_views(frames, wanted)
    mirrored = [view.to_frame[:, 0, 0] < 0 for view in views]
    for view, box in zip(views, boxes, strict=True):
        torch.testing.assert_close(view.low, box[:, :2] - 0.5)
        torch.testing.assert_close(view.high, box[:, :2] + box[:, 2:] - 0.5)
        assert view.images.shape == (40, 3, 24, 32)
    both = torch.stack(mirrored).float()
    assert 0.2 < both.mean() < 0.8
    assert (both[0] != both[1]).any()
    assert not any(
        (v.to_frame[:, 0, 0] < 0).any() for v in take_overlapping_views(frames, settings(flip=0.0))
    )


def test_the_two_views_are_distorted_differently(frames_of: MakeFrames):
    """Only the second distortion inverts bright values."""
    plain = {"jitter": 0.0, "grey": 0.0, "blur": 0.0}
    wanted = settings(first=plain, second=plain | {"solarise": 1.0, "threshold": 0.0})
    untouched = settings(first=plain, second=plain)
    frames = frames_of(3)
    found, expected = (take_overlapping_views(frames, each) for each in (wanted, untouched))
    torch.testing.assert_close(found[0].images, expected[0].images)
    torch.testing.assert_close(found[1].images, 1 - expected[1].images)


def test_the_common_part_is_what_both_show(frames_of: MakeFrames):
    first, second = take_overlapping_views(frames_of(6), settings())
    positions = pixel_grid(48, 64).expand(6, -1, -1, -1)
    both = first.shows(positions) & second.shows(positions)
    low, high = common_part(first, second)
    size = high - low  # edges of pixels, so that its area counts them
    torch.testing.assert_close(size.prod(1), both.sum((1, 2, 3)).float(), atol=1e-2, rtol=0)
    share = both.sum((1, 2, 3)) / first.shows(positions).sum((1, 2, 3))
    torch.testing.assert_close(shown_by_other(first, second), share, atol=1e-4, rtol=0)
    assert not torch.equal(shown_by_other(first, second), shown_by_other(second, first))


def test_views_apart_show_nothing_of_each_other():
    low = torch.tensor([[0.0, 0.0], [40.0, 0.0]])
    one, other = (
        View(torch.zeros(1, 3, 8, 8), affine.identity(1), corner[None], corner[None] + 20)
        for corner in low
    )
    assert shown_by_other(one, other) == 0


def test_the_picture_shows_the_views_and_the_match(frames_of: MakeFrames):
    plain = {"jitter": 0.0, "grey": 0.0, "blur": 0.0}
    frames = frames_of(2, seed=3)
    wanted = settings(first=plain, second=plain, scale=(0.5, 1.0))
    views = take_overlapping_views(frames, wanted)
    view1, view2, matched = matched_picture(views)["views"].split(32, 2)
    assert torch.equal(view1, views[0].images[0])
    assert torch.equal(view2, views[1].images[0])
    shown = matched.sum(0) > 0
    share = shown_by_other(*views)[0]
    assert abs(shown.float().mean() - share) < 0.1
    assert (matched - view1)[:, shown].abs().mean() < 0.02
    assert (view2 - view1)[:, shown].abs().mean() > 0.05
