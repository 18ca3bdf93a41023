"""J and F against slow implementations of their definitions."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from representation.readout.propagation.scores import (
    boundary,
    contour_accuracy,
    region_similarity,
    statistics,
)


def blobs(seed: int, height: int, width: int, share: float) -> np.ndarray:
    generator = np.random.default_rng(seed)
    coarse = generator.random((height // 4 + 1, width // 4 + 1)) < share
    return np.kron(coarse, np.ones((4, 4), bool))[:height, :width].astype(bool)


def slow_j(found: np.ndarray, truth: np.ndarray) -> float:
    both = either = 0
    for a, b in zip(found.ravel(), truth.ravel(), strict=True):
        both += bool(a) and bool(b)
        either += bool(a) or bool(b)
    return both / either if either else 1.0


def slow_lines(mask: np.ndarray) -> list[tuple[int, int]]:
    """Pixels that differ from the right, the lower or the lower right neighbour in the frame."""
    height, width = mask.shape
    places = []
    for y in range(height):
        for x in range(width):
            near = [(y + dy, x + dx) for dy, dx in ((0, 1), (1, 0), (1, 1))]
            inside = [mask[p] for p in near if p[0] < height and p[1] < width]
            if any(value != mask[y, x] for value in inside):
                places.append((y, x))
    return places


def slow_f(found: np.ndarray, truth: np.ndarray) -> float:
    """F by the distances between all boundary pixels of one mask and all of the other."""
    ours, theirs = slow_lines(found), slow_lines(truth)
    if not ours or not theirs:
        return float(not ours and not theirs)
    reach = math.ceil(0.008 * math.sqrt(truth.shape[0] ** 2 + truth.shape[1] ** 2))

    def matched(points: list[tuple[int, int]], others: list[tuple[int, int]]) -> float:
        near = [any(math.dist(p, q) <= reach for q in others) for p in points]
        return sum(near) / len(points)

    precision, recall = matched(ours, theirs), matched(theirs, ours)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


@settings(max_examples=30)
@given(
    st.integers(0, 10**6), st.integers(5, 40), st.integers(5, 40), st.sampled_from((0.0, 0.1, 0.5))
)
def test_j_and_f_equal_slow_implementations_of_their_definitions(
    seed: int, height: int, width: int, share: float
) -> None:
    found, truth = blobs(seed, height, width, share), blobs(seed + 1, height, width, 0.3)
    assert region_similarity(found, truth) == pytest.approx(slow_j(found, truth))
    assert contour_accuracy(found, truth) == pytest.approx(slow_f(found, truth))
    drawn = {tuple(place) for place in np.argwhere(boundary(truth)).tolist()}
    assert drawn == set(slow_lines(truth))


def test_the_tolerance_of_f_grows_with_the_frame() -> None:
    for height, width, reach in ((90, 120, 2), (300, 400, 4)):
        truth = np.zeros((height, width), bool)
        truth[20:40, 20:50] = True
        within, beyond = np.roll(truth, reach, 1), np.roll(truth, reach + 6, 1)
        assert contour_accuracy(within, truth) == 1.0
        assert contour_accuracy(beyond, truth) < 0.9


def test_empty_masks_have_defined_scores() -> None:
    empty = np.zeros((20, 30), bool)
    some = empty.copy()
    some[5:9, 5:9] = True
    assert region_similarity(empty, empty) == contour_accuracy(empty, empty) == 1.0
    for pair in ((empty, some), (some, empty)):
        assert region_similarity(*pair) == contour_accuracy(*pair) == 0.0


def test_a_mask_of_the_whole_frame_has_no_boundary() -> None:
    full = np.ones((20, 30), bool)
    assert not boundary(full).any()
    assert contour_accuracy(full, full) == 1.0


def test_statistics_of_a_sequence_worked_out_by_hand() -> None:
    # Of 8 frames, the quarters are frames 0-2, 2-4 (0-based 1.75 and 3.5 are rounded), ..., 5-7.
    values = [1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3]
    found = statistics(values)
    assert found.mean == pytest.approx(0.65)
    assert found.recall == 5 / 8  # 0.5 itself does not count
    assert found.decay == pytest.approx(np.mean(values[:3]) - np.mean(values[5:]))


def test_quarters_share_a_frame_and_halves_are_rounded_up() -> None:
    # 7 frames: ends at 1, 2.5, 4, 5.5, 7 of 1 to 7, rounded to 1, 3, 4, 6, 7.
    values = [1.0, 0.0, 0.5, 0.0, 0.0, 0.25, 0.75]
    assert statistics(values).decay == pytest.approx(0.5 - 0.5)
    assert statistics([0.3]).decay == 0.0
