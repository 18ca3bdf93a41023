"""Metrics against a loop over pixels, and against torchvision's definitions."""

import math

import numpy as np
import pytest
import torch

from selfflow.metrics import (
    GROUPS,
    MEASURES,
    Tally,
    angular_error,
    endpoint_error,
    occlusion_distance,
    outlier,
    weighted_area,
)


def example(count, seed, scale=20.0):
    generator = torch.Generator().manual_seed(seed)
    flow = scale * torch.randn(count, 2, 12, 15, generator=generator)
    prediction = flow + 3 * torch.randn(count, 2, 12, 15, generator=generator)
    valid = torch.rand(count, 1, 12, 15, generator=generator) > 0.3
    visible = torch.rand(count, 1, 12, 15, generator=generator) > 0.4
    foreground = torch.rand(count, 1, 12, 15, generator=generator) > 0.7
    distance = 200 * torch.rand(count, 1, 12, 15, generator=generator)
    return prediction, flow, valid, visible, foreground, distance


def slow_angle(prediction, flow):
    """Return the angle in degrees by the arc cosine, as the papers write it."""
    one, other = np.array([*prediction, 1.0]), np.array([*flow, 1.0])
    cosine = one @ other / np.sqrt((one @ one) * (other @ other))
    return math.degrees(math.acos(min(1.0, cosine)))


def slow_area(errors):
    """Return the weighted area under the curve of errors, threshold by threshold."""
    errors = np.asarray(errors, np.float64)
    total = weights = 0.0
    for i in range(1, 101):
        weight = 1 - (i - 1) / 100
        total += weight * np.mean(errors <= i / 20)
        weights += weight
    return 100 * total / weights


def slow_means(images):
    """Return (pooled, per image) by group and measure, from one list of pixels a group."""
    pooled = {group: [] for group in GROUPS}
    per_image = {group: [] for group in GROUPS}
    for prediction, flow, valid, visible, foreground, distance in images:
        pixels = {group: [] for group in GROUPS}
        for _, y, x in valid.nonzero().tolist():
            (pu, pv), (u, v) = prediction[:, y, x].tolist(), flow[:, y, x].tolist()
            error, motion = math.hypot(pu - u, pv - v), math.hypot(u, v)
            values = (
                error,
                100.0 if error > 3 and error / motion > 0.05 else 0.0,
                *(100.0 if error < limit else 0.0 for limit in (1, 3, 5)),
                slow_angle((pu, pv), (u, v)),
                slow_area([error]),
            )
            speed = "s0-10" if motion < 10 else "s10-40" if motion < 40 else "s40+"
            seen = "visible" if visible[0, y, x] else "not visible"
            moving = "foreground" if foreground[0, y, x] else "background"
            away = distance[0, y, x].item()
            belt = "d0-10" if away < 10 else "d10-60" if away < 60 else "d60-140"
            groups = ["all", speed, seen, moving]
            if visible[0, y, x] and away < 140:
                groups.append(belt)
            for group in groups:
                pixels[group].append(values)
        for group, rows in pixels.items():
            pooled[group] += rows
            if rows:
                per_image[group].append([sum(c) / len(c) for c in zip(*rows, strict=True)])
    return [
        {g: [sum(c) / len(c) for c in zip(*rows, strict=True)] for g, rows in table.items()}
        for table in (pooled, per_image)
    ]


def test_both_averages_equal_a_loop_over_pixels():
    batches = [example(2, 0), example(1, 1, scale=40.0)]
    tally = Tally()
    for batch in batches:
        tally.add(*batch)
    images = [tuple(x[b] for x in batch) for batch in batches for b in range(len(batch[0]))]
    for ours, theirs in zip((tally.pooled(), tally.per_image()), slow_means(images), strict=True):
        for group in GROUPS:
            values = [ours[group][measure] for measure in MEASURES]
            assert values == pytest.approx(theirs[group], rel=1e-5), group
    assert tally.pooled()["s40+"]["epe"] != pytest.approx(
        tally.per_image()["s40+"]["epe"], rel=1e-2
    )


def test_pooled_values_follow_torchvisions_definitions():
    """The metrics of its reference training: end-point error, n px accuracy and F1."""
    prediction, flow, valid, visible, *_ = example(3, 2)
    error = (prediction - flow).square().sum(1).sqrt()[valid[:, 0]]
    length = flow.square().sum(1).sqrt()[valid[:, 0]]
    expected = {
        "epe": error.mean(),
        "fl_all": 100 * ((error > 3) & (error / length > 0.05)).float().mean(),
        "1px": 100 * (error < 1).float().mean(),
        "3px": 100 * (error < 3).float().mean(),
        "5px": 100 * (error < 5).float().mean(),
    }
    tally = Tally()
    tally.add(prediction, flow, valid, visible)
    ours = tally.pooled()["all"]
    assert ours.pop("pixels") == valid.sum()
    assert ours.pop("wauc") == pytest.approx(slow_area(error), rel=1e-6), "the area of all together"
    assert 0 < ours.pop("angular") < 90
    assert ours == pytest.approx({k: v.item() for k, v in expected.items()}, rel=1e-5)


def test_by_hand():
    flow = torch.zeros(1, 2, 1, 4)
    flow[0, 0] = torch.tensor([0.0, 100.0, 100.0, 20.0])
    prediction = flow.clone()
    prediction[0, 1] = torch.tensor([2.0, 4.0, 6.0, 4.0])
    error = endpoint_error(prediction, flow)
    assert error.flatten().tolist() == [2, 4, 6, 4]
    # 4 px of 100 is less than 5 %.
    assert outlier(error, flow).flatten().tolist() == [False, False, True, True]
    tally = Tally()
    tally.add(prediction, flow, None, None)
    found = tally.pooled()["all"]
    assert found.pop("angular") == pytest.approx(
        np.mean([slow_angle((x, y), (x, 0)) for x, y in ((0, 2), (100, 4), (100, 6), (20, 4))])
    )
    assert found.pop("wauc") == pytest.approx(slow_area([2, 4, 6, 4]))
    assert found == {"epe": 4, "fl_all": 50, "1px": 0, "3px": 25, "5px": 75, "pixels": 4}
    assert tally.pooled()["s40+"]["epe"] == 5
    assert set(tally.pooled()) == {"all", "s0-10", "s10-40", "s40+"}, "visibility is not known"
    assert [one["epe"] for one in tally.each()] == [4]


def test_what_is_unknown_does_not_count_whatever_it_holds():
    prediction, flow, valid, *masks = example(1, 3)
    reference, tally = Tally(), Tally()
    reference.add(prediction, flow, valid, *masks)
    flow = torch.where(valid, flow, float("nan"))
    prediction = torch.where(valid, prediction, float("inf"))
    tally.add(prediction, flow, valid, *masks)
    assert tally.pooled() == reference.pooled()


def test_an_image_without_pixels_in_a_group_is_left_out_of_its_mean():
    still, fast = torch.zeros(1, 2, 4, 4), torch.full((1, 2, 4, 4), 40.0)
    tally = Tally()
    tally.add(still + 1, still, None, None)
    tally.add(fast + 2, fast, None, None)
    assert tally.per_image()["s40+"]["epe"] == pytest.approx(2 * math.sqrt(2))
    assert tally.per_image()["all"]["epe"] == pytest.approx(1.5 * math.sqrt(2))


def test_angles_by_hand():
    def angle(prediction, flow):
        return angular_error(*(torch.tensor(x).view(1, 2, 1, 1) for x in (prediction, flow))).item()

    assert angle([1.0, 0.0], [0.0, 0.0]) == pytest.approx(45)
    assert angle([0.0, 1.0], [0.0, -1.0]) == pytest.approx(90)
    assert angle([3.0, 4.0], [3.0, 4.0]) == 0
    assert angle([1e-4, 0.0], [0.0, 0.0]) == pytest.approx(math.degrees(1e-4), rel=1e-6)


def test_distances_from_occluded_pixels_equal_a_search():
    generator = torch.Generator().manual_seed(0)
    flow = 4 * torch.randn(3, 2, 9, 14, generator=generator)
    visible = torch.rand(3, 1, 9, 14, generator=generator) > 0.1
    visible[1] = True  # nothing is occluded
    found = occlusion_distance(flow, visible)
    for sample in range(3):
        occluded = [
            (y, x)
            for y in range(9)
            for x in range(14)
            if not visible[sample, 0, y, x]
            and 0 <= y + flow[sample, 1, y, x] <= 8
            and 0 <= x + flow[sample, 0, y, x] <= 13
        ]
        assert len(occluded) < (~visible[sample]).sum() or sample == 1
        for y in range(9):
            for x in range(14):
                away = [math.hypot(y - b, x - a) for b, a in occluded]
                assert found[sample, 0, y, x].item() == pytest.approx(min(away, default=math.inf))


def test_the_weighted_area_at_its_thresholds():
    errors = torch.tensor([0.0, 0.05, 0.051, 4.96, 5.0, 5.01, math.inf, math.nan])
    worst = 100 * 0.01 / 50.5  # the last of 100 weights, whose sum is 50.5
    expected = [100.0, 100.0, 100 * 49.5 / 50.5, worst, worst, 0, 0, 0]
    assert weighted_area(errors).tolist() == pytest.approx(expected)
    exact = [0.0, 0.05, 0.051, 4.96, 5.0, 5.01]
    assert [slow_area([error]) for error in exact] == pytest.approx(expected[:6])
