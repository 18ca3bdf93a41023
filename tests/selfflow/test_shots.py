"""Cuts and standstill are found, and nothing else is taken for them."""

from collections.abc import Callable
from itertools import pairwise
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from selfflow.io import Bytes
from selfflow.sample import sample_sequences
from selfflow.shots import CutFinder, Likeness, cuts, is_static, likeness, thumbnail

RNG = np.random.default_rng(0)


def noisy(frame: Bytes, sigma: float = 4.0, quality: int = 70) -> Bytes:
    """The frame with noise, compressed."""
    noise = RNG.normal(0, sigma, frame.shape)
    written = np.clip(frame + noise, 0, 255).astype(np.uint8)
    coded = cv2.imencode(".jpg", written, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)


def cut_places(frames: list[Bytes]) -> list[int]:
    """Where cuts are found between neighbours."""
    small = [thumbnail(frame) for frame in frames]
    found = cuts([likeness(first, second) for first, second in pairwise(small)])
    return [place for place, cut in enumerate(found) if cut]


@pytest.mark.parametrize("step", [1, 3, 10, 18])
def test_fast_motion_is_no_cut_and_not_static(films: SimpleNamespace, step: int) -> None:
    frames = [noisy(frame) for frame in films.film(1, 6, step=step)]
    assert cut_places(frames) == []
    for first, second in pairwise(map(thumbnail, frames)):
        assert not is_static(first, second)


def test_cuts_between_films_are_found_where_they_are(films: SimpleNamespace) -> None:
    for seed in range(0, 20, 2):
        frames = [*films.film(seed, 5), *films.film(seed + 1, 6), *films.film(seed, 4)]
        assert cut_places([noisy(frame) for frame in frames]) == [4, 10]


def test_cuts_between_the_sample_scenes_and_none_within() -> None:
    room, yard = ([s.frame(index) for index in range(0, 24, 4)] for s in sample_sequences())
    assert cut_places([*room, *yard]) == [5]


def test_a_pair_by_itself_is_judged_by_colours_too(films: SimpleNamespace) -> None:
    blue, red = films.texture(0).copy(), films.texture(1).copy()
    blue[..., 0] //= 4
    red[..., 2] //= 4
    assert cut_places([blue, red]) == [0]


def test_frames_that_are_always_far_apart_are_no_cuts(films: SimpleNamespace) -> None:
    """As in CamVid at 1 Hz, where half of the picture is new each time."""
    frames = films.film(5, 8, step=70)
    assert len(cut_places(frames)) <= 1


@pytest.mark.parametrize(
    "change",
    [
        lambda frame: frame,
        lambda frame: noisy(frame, 4, 50),
        lambda frame: np.clip(frame * 1.0 + 25, 0, 255).astype(np.uint8),
    ],
    ids=["repeated", "noise and compression", "brighter"],
)
def test_a_still_picture_is_static(
    films: SimpleNamespace, change: Callable[[Bytes], Bytes]
) -> None:
    frame = (films.texture(3, 300, 400) * 0.7 + 20).astype(np.uint8)
    assert is_static(thumbnail(noisy(frame)), thumbnail(change(frame)))


def test_a_small_thing_that_moves_is_motion(films: SimpleNamespace) -> None:
    first = films.texture(3)
    second = first.copy()
    thing = films.texture(4)[:24, :24]
    first[50:74, 60:84] = thing
    second[50:74, 64:88] = thing
    assert not is_static(thumbnail(first), thumbnail(second))


def test_a_change_of_exposure_is_no_cut(films: SimpleNamespace) -> None:
    frames = films.film(2, 6)
    frames[3] = np.clip(frames[3] * 1.6, 0, 255).astype(np.uint8)
    assert cut_places(frames) == []


def test_a_cut_to_black_is_a_cut(films: SimpleNamespace) -> None:
    black = np.zeros((96, 128, 3), np.uint8)
    assert cut_places([*films.film(0, 3), black, black]) == [2]


def test_nothing_to_compare_is_no_cut() -> None:
    assert cuts([]) == []


def test_cuts_are_found_as_the_video_goes_by(films: SimpleNamespace) -> None:
    frames = [*films.film(0, 9), *films.film(1, 9), *films.film(2, 9)]
    small = [thumbnail(frame) for frame in frames]
    pairs = [likeness(*pair) for pair in pairwise(small)]
    finder = CutFinder()
    found = [finder.is_cut(pair) for pair in pairs]
    assert [place for place, cut in enumerate(found) if cut] == [8, 17]
    assert found == cuts(pairs)
    # Continued after a stop, its answers are the same.
    again = CutFinder()
    for pair in pairs[:12]:
        again.remember(pair.recognised)
    assert [again.is_cut(pair) for pair in pairs[12:]] == found[12:]


def test_what_is_usual_is_what_was_seen_of_late() -> None:
    """0.6 is little where 0.95 is usual, and as usual where it has been so for a while."""
    finder = CutFinder(memory=5)
    likenesses = [Likeness(0.95, 0.4)] * 5 + [Likeness(0.6, 0.4)] * 3
    assert [finder.is_cut(pair) for pair in likenesses] == [False] * 5 + [True, True, False]
