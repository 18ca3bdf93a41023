from collections import Counter
from itertools import pairwise
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from known import Moving

from autoflow.search.coverage import covering, even_order, motions
from selfflow.frames import FrameCache, PairAddress
from selfflow.sequences import Sequence
from selfflow.video import Target

shifts = st.floats(0, 1, exclude_max=True)


@st.composite
def candidates(draw: st.DrawFn) -> dict[PairAddress, float]:
    """Pairs of one to eight sequences, each of another length, and their motion."""
    lengths = draw(st.lists(st.integers(1, 20), min_size=1, max_size=8))
    pairs = [
        PairAddress(f"s{n}", i, i + 1) for n, length in enumerate(lengths) for i in range(length)
    ]
    values = st.floats(0, 50).map(lambda value: round(value, 2))
    moved = draw(st.lists(values, min_size=len(pairs), max_size=len(pairs)))
    return dict(zip(pairs, moved, strict=True))


@given(st.integers(1, 100), shifts)
def test_the_even_order_visits_every_place_once(count: int, shift: float) -> None:
    assert sorted(even_order(count, shift)) == list(range(count))


@given(st.integers(1, 100), shifts, st.data())
def test_the_first_places_of_the_even_order_leave_no_wide_gap(
    count: int, shift: float, data: st.DataObject
) -> None:
    taken = data.draw(st.integers(1, count))
    places = sorted(even_order(count, shift)[:taken])
    gaps = [after - before for before, after in pairwise([*places, places[0] + count])]
    # Taken round: an even division of `count` into `taken`, and twice that.
    assert max(gaps) <= 2 * count / max(1, taken - 1)


def test_the_even_order_is_the_bit_reversed_one() -> None:
    assert even_order(8) == [0, 4, 2, 6, 1, 5, 3, 7]
    assert even_order(6) == [0, 4, 2, 1, 5, 3]
    assert even_order(4, 0.25) == [1, 3, 2, 0]


@settings(max_examples=40)
@given(candidates(), st.integers(1, 60), st.integers(0, 5))
def test_every_sequence_gives_a_pair_before_any_gives_another(
    moved: dict[PairAddress, float], count: int, seed: int
) -> None:
    chosen = covering(moved, count, seed)
    available = Counter(pair.sequence for pair in moved)
    assert len(chosen) == len(set(chosen)) == min(count, len(moved))
    for length in range(len(chosen) + 1):
        given_ = Counter(pair.sequence for pair in chosen[:length])
        most = max(given_.values(), default=0)
        assert all(given_[name] >= min(most - 1, available[name]) for name in available)


@settings(max_examples=40)
@given(candidates(), st.integers(1, 60), st.integers(0, 5))
def test_the_pairs_of_a_sequence_are_spread_over_the_quantiles_of_its_motion(
    moved: dict[PairAddress, float], count: int, seed: int
) -> None:
    chosen = covering(moved, count, seed)
    for name in {pair.sequence for pair in chosen}:
        own = sorted((m, pair) for pair, m in moved.items() if pair.sequence == name)
        ranks = [rank for rank, (_, pair) in enumerate(own) if pair in chosen]
        gaps = [b - a for a, b in pairwise([-1, *ranks, len(own)])]
        assert max(gaps) <= 2 * len(own) / max(1, len(ranks) - 1)


@settings(max_examples=40)
@given(candidates(), st.integers(1, 60), st.randoms())
def test_the_choice_depends_on_the_pairs_and_not_on_their_order(
    moved: dict[PairAddress, float], count: int, random: Random
) -> None:
    shuffled = list(moved.items())
    random.shuffle(shuffled)
    assert covering(dict(shuffled), count) == covering(moved, count)


def test_of_few_sequences_those_of_slow_and_fast_motion_come_first() -> None:
    moved = {PairAddress(f"s{n}", 0, 1): float(n) for n in range(16)}
    for seed in range(5):
        first = sorted(moved[pair] for pair in covering(moved, 4, seed))
        assert {int(motion // 4) for motion in first} == {0, 1, 2, 3}


def test_the_first_pairs_of_many_sequences_are_of_all_quantiles() -> None:
    moved = {PairAddress(f"s{n}", i, i + 1): float(i) for n in range(20) for i in range(10)}
    drawn = Counter(int(moved[pair]) for pair in covering(moved, 20))
    assert set(drawn) == set(range(10))
    assert max(drawn.values()) <= 4


def test_another_seed_is_another_choice() -> None:
    moved = {PairAddress("s", i, i + 1): float(i) for i in range(50)}
    assert covering(moved, 5, 0) != covering(moved, 5, 1)


class Panning(Moving):
    """A random texture that moves to the right by twice as many pixels in every frame."""

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__("panning", 4, labelled=False)
        noise = np.random.default_rng(0).uniform(0, 255, (size[0] // 8, size[1] // 4, 3))
        self.texture = np.kron(noise, np.ones((8, 8, 1))).astype(np.uint8)
        self.width = size[1]

    def frame(self, index: int) -> np.ndarray:
        start = 32 - (0, 2, 6, 14)[index]
        return np.ascontiguousarray(self.texture[:, start : start + self.width])


@pytest.mark.parametrize("size", [(96, 160), (192, 320)])
def test_motion_is_that_of_the_frames_in_pixels_of_the_cache(size: tuple[int, int]) -> None:
    sequence: Sequence = Panning(size)
    cache = FrameCache(Target("panning", (sequence,)))
    found = motions(cache, [PairAddress("panning", i, i + 1) for i in range(3)])
    # What enters at the side has no match.
    assert found == pytest.approx([2, 4, 8], rel=0.15)
