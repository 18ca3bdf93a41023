"""Batches from a target: bounded memory, windows and order by keys alone."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from selfflow.frames import FrameBatches, FrameCache, PairAddress, fit_size
from selfflow.io import Bytes
from selfflow.random import key
from selfflow.runs.errors import UserError
from selfflow.sequences import FlowLabel, Sequence
from selfflow.video import Target


class Film(Sequence):
    """Frames in memory that count how often they are read."""

    def __init__(self, name: str, frames: list[Bytes], label: FlowLabel | None = None) -> None:
        self.name, self.frames, self.label, self.reads = name, frames, label, 0

    def __len__(self) -> int:
        return len(self.frames)

    def frame(self, index: int) -> Bytes:
        self.reads += 1
        return self.frames[index]

    def flow(self, index: int) -> FlowLabel | None:
        return self.label


@pytest.fixture
def target(films: SimpleNamespace) -> Target:
    wide = Film("wide", films.film(0, 8, height=60, width=120))
    high = Film("high", films.film(1, 6, height=100, width=50))
    return Target("t", (wide, high))


PAIRS = [*(PairAddress("wide", k, k + 1) for k in range(7)), PairAddress("high", 2, 4)]


@pytest.mark.parametrize(
    ("size", "fitted"),
    [(None, (60, 120)), (30, (30, 60)), (90, (60, 120)), ((40, 50), (40, 50)), (7, (7, 14))],
)
def test_sizes(size: int | tuple[int, int] | None, fitted: tuple[int, int]) -> None:
    assert fit_size(60, 120, size) == fitted


@pytest.mark.parametrize("size", [0, -3, (0, 10)])
def test_impossible_sizes_are_said(size: int | tuple[int, int]) -> None:
    with pytest.raises(UserError, match="impossible"):
        fit_size(60, 120, size)


def test_frames_are_those_of_the_target(target: Target) -> None:
    frame = FrameCache(target).frame("wide", 3)
    assert frame.dtype == torch.uint8
    np.testing.assert_array_equal(frame.permute(1, 2, 0).numpy(), target["wide"].frame(3))
    small = FrameCache(target, 30).frame("wide", 3)
    assert small.shape == (3, 30, 60)
    halved = interpolate(frame[None].float(), scale_factor=0.5, mode="area")[0]
    assert (small - halved).abs().max() <= 0.51


def test_memory_is_bounded_and_the_oldest_go(target: Target) -> None:
    film = target.sequences[0]
    assert isinstance(film, Film)
    one = 3 * 60 * 120
    cache = FrameCache(target, bytes_limit=3 * one)
    for index in (0, 1, 2, 0, 3):  # 1 goes
        cache.frame("wide", index)
    assert cache.bytes_used == 3 * one
    reads = film.reads
    for index in (0, 2, 3):
        cache.frame("wide", index)
    assert film.reads == reads
    cache.frame("wide", 1)
    assert film.reads == reads + 1
    assert cache.bytes_used == 3 * one


def test_frames_are_read_by_several_threads_once_each_and_come_in_order(target: Target) -> None:
    cache = FrameCache(target)
    places = [("wide", 5), ("high", 2), ("wide", 5), ("wide", 0), ("high", 2), ("high", 3)]
    for (name, index), frame in zip(places, cache.frames(places), strict=True):
        np.testing.assert_array_equal(frame.permute(1, 2, 0).numpy(), target[name].frame(index))
    reads = [film.reads for film in target.sequences]
    cache.frames(places)
    assert [film.reads for film in target.sequences] == reads
    assert reads == [2 + 3, 2 + 3]  # three each were for the comparison


def test_what_cannot_be_read_is_said_by_whoever_asks(target: Target) -> None:
    cache = FrameCache(target)
    with pytest.raises(IndexError):
        cache.frames([("wide", 0), ("wide", 99)])
    assert cache.frames([("wide", 0)])[0].shape == (3, 60, 120)


def test_whole_frames_make_a_batch(target: Target) -> None:
    batch = FrameCache(target).batch(PAIRS[:3])
    assert batch.image1.shape == (3, 3, 60, 120)
    assert torch.equal(batch.image2[0], batch.image1[1])
    assert batch.flow is None
    assert 0 <= batch.image1.min() < batch.image1.max() <= 1
    with pytest.raises(ValueError, match="crop"):
        FrameCache(target).batch([PAIRS[0], PAIRS[-1]])


def test_windows_lie_where_keys_say_and_are_the_same_in_both_frames(target: Target) -> None:
    cache = FrameCache(target)
    keys = key(0, torch.arange(40))
    batch = cache.batch([PairAddress("wide", 0, 0)] * 40, crop=(20, 30), keys=keys)
    assert torch.equal(batch.image1, batch.image2)
    frame = cache.frame("wide", 0).float() / 255
    places = frame.unfold(1, 20, 1).unfold(2, 30, 1).permute(1, 2, 0, 3, 4)
    found = [(places == window).flatten(2).all(2).nonzero()[0].tolist() for window in batch.image1]
    assert len({tuple(place) for place in found}) > 30
    tops, lefts = np.array(found).T
    assert tops.min() < 5
    assert tops.max() > 35
    assert lefts.min() < 10
    assert lefts.max() > 80
    # A sample's window depends on its own key, not on the rest of the batch.
    alone = cache.batch([PairAddress("wide", 0, 0)], crop=(20, 30), keys=keys[7:8])
    assert torch.equal(alone.image1[0], batch.image1[7])


def test_frames_smaller_than_the_window_are_enlarged(target: Target) -> None:
    batch = FrameCache(target).batch([PAIRS[0], PAIRS[-1]], crop=(80, 90))
    assert batch.image1.shape == (2, 3, 80, 90)


def test_batches_depend_on_seed_and_step_alone(target: Target) -> None:
    def batches(seed: int, batch_size: int = 4, limit: int = 1 << 30) -> FrameBatches:
        cache = FrameCache(target, bytes_limit=limit)
        return FrameBatches(cache, PAIRS, seed, batch_size, crop=(32, 40))

    first = batches(0)
    late, early = first(5), first(2)
    again = batches(0, limit=1)
    assert torch.equal(again(2).image1, early.image1)
    assert torch.equal(again(5).image2, late.image2)
    assert not torch.equal(batches(1)(2).image1, early.image1)
    # Two batches of two are one of four.
    halves = batches(0, batch_size=2)
    assert torch.equal(torch.cat((halves(4).image1, halves(5).image1)), early.image1)


def test_every_pair_is_seen_once_an_epoch_in_a_new_order(target: Target) -> None:
    stream = FrameBatches(FrameCache(target), PAIRS, 3, batch_size=3)
    seen = [address for step in range(16) for address in stream.addresses(step)]
    epochs = [seen[start : start + 8] for start in range(0, 48, 8)]
    assert all(sorted(epoch) == sorted(PAIRS) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 4


def test_labels_are_resized_with_their_vectors(films: SimpleNamespace) -> None:
    flow = np.zeros((60, 120, 2), np.float32)
    flow[:, 60:] = (8, 4)
    valid = np.ones((60, 120), bool)
    valid[:30] = False
    visible = ~valid
    film = Film("f", films.film(0, 3, 60, 120), FlowLabel(flow, valid, visible))
    cache = FrameCache(Target("t", (film,)), size=(30, 30))
    pair = cache.load(PairAddress("f", 0, 1))
    assert pair.flow is not None
    assert pair.valid is not None
    assert pair.visible is not None
    assert pair.flow.shape == (1, 2, 30, 30)
    assert pair.flow[0, :, :, :15].abs().max() == 0  # nothing is mixed
    assert pair.flow[0, 0, :, 15:].unique().tolist() == [2]
    assert pair.flow[0, 1, :, 15:].unique().tolist() == [2]
    assert pair.valid[0, 0].any(1).tolist() == [False] * 15 + [True] * 15
    assert torch.equal(pair.visible, ~pair.valid)
    assert cache.load(PairAddress("f", 0, 2)).flow is None  # known for neighbours only


def test_pairs_without_labels_are_loaded_without(target: Target) -> None:
    pair = FrameCache(target).load(PAIRS[0])
    assert pair.flow is None
    assert pair.image1.shape == (1, 3, 60, 120)
