"""Pairs of frames: none that is static or cut, evenly spread, listed in JSON."""

import json
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfflow.io import Bytes
from selfflow.pairfinding import PairAddress, find_pairs, pairs_from_json, spread
from selfflow.runs.errors import UserError
from selfflow.sequences import Sequence
from selfflow.video import Target


class Film(Sequence):
    """Frames in memory that count how often they are read."""

    def __init__(self, name: str, frames: list[Bytes]) -> None:
        self.name, self.frames = name, frames
        self.read: list[int] = []

    def __len__(self) -> int:
        return len(self.frames)

    def frame(self, index: int) -> Bytes:
        self.read.append(index)
        return self.frames[index]


def firsts(pairs: list[PairAddress]) -> list[tuple[int, int]]:
    return [(pair.first, pair.second) for pair in pairs]


def test_static_pairs_and_cuts_are_left_out(films: SimpleNamespace) -> None:
    moving, other = films.film(0, 5), films.film(1, 4)
    film = Film("a", [*moving, moving[-1], moving[-1], *other])  # 0 1 2 3 4 4 4 | 7 8 9 10
    target = Target("t", (film,))
    good = [(0, 1), (1, 2), (2, 3), (3, 4), (7, 8), (8, 9), (9, 10)]
    assert firsts(find_pairs(target)) == good
    assert film.read == list(range(11))  # each once, in order
    assert (4, 5) in firsts(find_pairs(target, skip_static=False))
    assert (6, 7) in firsts(find_pairs(target, skip_cuts=False))
    assert len(find_pairs(target, skip_static=False, skip_cuts=False)) == 10


def test_gaps_can_be_chosen(films: SimpleNamespace) -> None:
    target = Target("t", (Film("a", films.film(0, 5)), Film("b", films.film(1, 2))))
    assert firsts(find_pairs(target, 2)) == [(0, 2), (1, 3), (2, 4)]
    several = find_pairs(target, (1, 3))
    assert firsts(several) == [(0, 1), (0, 3), (1, 2), (1, 4), (2, 3), (3, 4), (0, 1)]
    assert [pair.sequence for pair in several] == ["a"] * 6 + ["b"]


def test_each_sequence_may_have_gaps_of_its_own(films: SimpleNamespace) -> None:
    names = {"a": (1, 2), "b": (), "c": (3,)}
    target = Target("t", tuple(Film(name, films.film(0, 4)) for name in names))
    found = find_pairs(target, lambda sequence: names[sequence.name])
    assert {(p.sequence, p.second - p.first) for p in found} == {("a", 1), ("a", 2), ("c", 3)}
    with pytest.raises(UserError, match=r"no pair of frames \(too short or too slow\)"):
        find_pairs(target, lambda sequence: ())
    with pytest.raises(UserError, match="at least 1"):
        find_pairs(target, lambda sequence: (0,))


@pytest.mark.parametrize("gap", [0, -1, ()])
def test_impossible_gaps_are_said(films: SimpleNamespace, gap: int) -> None:
    with pytest.raises(UserError, match="gap"):
        find_pairs(Target("t", (Film("a", films.film(0, 3)),)), gap)


def test_nothing_left_is_said(films: SimpleNamespace) -> None:
    still = Film("a", films.film(0, 1) * 4)
    with pytest.raises(UserError, match=r"target t.*all 3 are static"):
        find_pairs(Target("t", (still,)))
    with pytest.raises(UserError, match=r"too short"):
        find_pairs(Target("t", (still,)), 9)


def test_a_limit_opens_and_reads_no_more_than_needed(films: SimpleNamespace) -> None:
    many = tuple(Film(f"s{n}", films.film(n, 6)) for n in range(8))
    pairs = find_pairs(Target("t", many), limit=3)
    assert len(pairs) == 3
    assert sum(bool(film.read) for film in many) == 3
    assert sum(len(film.read) for film in many) == 6


def test_json_round_trip(films: SimpleNamespace) -> None:
    pairs = find_pairs(Target("t", (Film("a", films.film(0, 4)),)))
    assert pairs_from_json(json.loads(json.dumps(pairs)), "pairs.json") == pairs
    for broken in ({}, [["a", 1]], [["a", "x", 2]], 3):
        with pytest.raises(UserError, match=r"pairs.json"):
            pairs_from_json(broken, "pairs.json")


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=12),
    count=st.integers(1, 60),
    seed=st.integers(0, 5),
)
def test_spread_is_even_over_sequences(lengths: list[int], count: int, seed: int) -> None:
    pairs = [
        PairAddress(str(name), first, first + 1)
        for name, length in enumerate(lengths)
        for first in range(length)
    ]
    chosen = spread(pairs, count, seed)
    assert len(chosen) == len(set(chosen)) == min(count, len(pairs))
    assert chosen == sorted(chosen, key=pairs.index)
    assert chosen == spread(pairs, count, seed)
    shares = Counter(pair.sequence for pair in chosen)
    # No sequence gives more than one more than another that could still give.
    for name, length in enumerate(lengths):
        if shares[str(name)] < length:
            assert max(shares.values()) <= shares[str(name)] + 1


def test_spread_is_even_over_time_and_shifted_by_the_seed() -> None:
    pairs = [PairAddress("a", first, first + 1) for first in range(100)]
    chosen = [pair.first for pair in spread(pairs, 10, 0)]
    assert set(np.diff(chosen)) <= {9, 10, 11}
    assert len({tuple(spread(pairs, 10, seed)) for seed in range(5)}) > 1
    with pytest.raises(ValueError, match="at least one"):
        spread(pairs, 0)


def test_frames_are_read_in_order_and_forgotten(films: SimpleNamespace, tmp_path: Path) -> None:
    film = Film("a", films.film(0, 12))
    find_pairs(Target("t", (film,)), (2, 5))
    assert film.read == list(range(12))
