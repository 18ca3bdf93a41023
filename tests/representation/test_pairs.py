"""Which frames are looked at: by frames, by seconds, single ones, of films and of stills."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from pydantic import ValidationError

from representation.pairs import image_addresses, pair_addresses
from representation.settings import FrameSettings
from representation.source import FrameSource
from representation.stills import TOGETHER, Stills, open_images
from selfflow.frames import FrameBatches, FrameCache, PairAddress
from selfflow.io import write_image
from selfflow.runs.errors import UserError
from selfflow.sequences import ImageSequence
from selfflow.video import Target


def noise(seed: int, height: int = 40, width: int = 56) -> np.ndarray:
    small = np.random.default_rng(seed).integers(0, 256, (height // 4, width // 4, 3), np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def film(folder: Path, rate: float | None, count: int = 12) -> ImageSequence:
    """A texture that moves by two pixels a frame."""
    picture, paths = noise(1), []
    for number in range(count):
        paths.append(folder / f"{number:03d}.png")
        write_image(paths[-1], np.roll(picture, 2 * number, 1))
    return ImageSequence(folder.name, paths, frame_rate=rate)


@pytest.fixture
def films(tmp_path: Path) -> Target:
    rates = {"slow": 10.0, "fast": 20.0, "unknown": None}
    for name in rates:
        (tmp_path / name).mkdir()
    return Target("films", tuple(film(tmp_path / name, rate) for name, rate in rates.items()))


def settings(**values: object) -> FrameSettings:
    return FrameSettings.model_validate(values)


def test_pairs_by_seconds_are_as_many_frames_apart_as_each_film_needs(films: Target):
    wanted = settings(seconds=(0.1, 0.3), frame_rate=5.0)
    found = pair_addresses(films, wanted, seed=0)
    gaps = {"slow": {1, 3}, "fast": {2, 6}, "unknown": {1, 2}}
    for name, expected in gaps.items():
        own = [pair for pair in found if pair.sequence == name]
        assert {pair.second - pair.first for pair in own} == expected
        assert len(own) == sum(12 - gap for gap in expected)
    assert len(pair_addresses(films, settings(**{**wanted.model_dump(), "pairs": 9}), 0)) == 9


def test_a_film_that_is_too_slow_gives_no_pair(films: Target):
    found = pair_addresses(films, settings(seconds=(0.06,), frame_rate=8.0), seed=0)
    assert {(p.sequence, p.second - p.first) for p in found} == {("slow", 1), ("fast", 1)}
    with pytest.raises(UserError, match=r"no pair of frames \(too short or too slow\)"):
        pair_addresses(films, settings(seconds=(0.01,), frame_rate=8.0), seed=0)


def test_pairs_by_frames_are_equally_many_frames_apart(films: Target):
    found = pair_addresses(films, settings(gaps=(2,)), seed=0)
    assert {pair.second - pair.first for pair in found} == {2}
    assert len(found) == 30


def test_without_a_frame_rate_seconds_are_refused(films: Target):
    with pytest.raises(UserError, match=r"frame rate of unknown is not known: set frames\.frame"):
        pair_addresses(films, settings(seconds=(0.5,)), seed=0)
    with pytest.raises(ValidationError):
        settings(seconds=(-0.5,))


def test_single_images_are_pairs_with_themselves(films: Target):
    found = image_addresses(films, settings(), seed=0)
    assert found == [PairAddress(s.name, i, i) for s in films.sequences for i in range(12)]
    some = image_addresses(films, settings(pairs=6), seed=0)
    assert [pair.sequence for pair in some] == ["slow"] * 2 + ["fast"] * 2 + ["unknown"] * 2
    (one,) = image_addresses(films, settings(pairs=1), seed=0)
    assert one.first == one.second


@pytest.fixture
def stills(tmp_path: Path) -> Path:
    """Unrelated images of several sizes, at two depths, one of them beside a film."""
    folder = tmp_path / "stills"
    (folder / "deep" / "er").mkdir(parents=True)
    names = ("cat.png", "n01_10.png", "n01_977.png", "deep/er/dog.png")
    for number, name in enumerate(names):
        write_image(folder / name, noise(number, 40 + 4 * number, 64))
    writer = cv2.VideoWriter(
        str(folder / "deep" / "film.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 10, (64, 48)
    )
    for number in range(3):
        writer.write(noise(number, 48, 64))
    writer.release()
    return folder


def test_a_folder_of_unrelated_images_gives_all_of_them(stills: Path):
    target = open_images(str(stills))
    addresses = image_addresses(target, settings(), seed=0)
    assert len(addresses) == 4 + 3
    by_name = {
        target[a.sequence].frame_name(a.first): target[a.sequence].frame(a.first)
        for a in addresses
        if isinstance(target[a.sequence], Stills)
    }
    assert by_name.keys() == {"cat", "n01_10", "n01_977", "dog"}
    np.testing.assert_array_equal(by_name["dog"], noise(3, 52, 64))
    batches = FrameBatches(FrameCache(target, 32), addresses, seed=0, batch_size=7)
    batch = FrameSource(batches, None)(0)
    assert (batch.image1 == batch.image2).all()
    assert sorted(batch.sizes[:, 1].tolist()) == sorted([51, 47, 43, 39, 43, 43, 43])


def test_many_images_of_a_folder_are_several_sequences(tmp_path: Path):
    image = noise(0, 16, 16)
    for number in range(TOGETHER + 2):
        write_image(tmp_path / f"{number:05d}.png", image)
    sequences = open_images(str(tmp_path)).sequences
    assert [len(sequence) for sequence in sequences] == [TOGETHER, 2]
    with pytest.raises(IndexError):
        sequences[1].frame(2)


def test_known_layouts_and_names_are_what_they_are_for_pairs(tmp_path: Path):
    folder = tmp_path / "JPEGImages" / "480p" / "bear"
    folder.mkdir(parents=True)
    film(folder, None, 3)
    assert [s.name for s in open_images(str(tmp_path)).sequences] == ["bear"]
    assert open_images("sample").name == "sample"


def test_a_folder_without_an_image_is_refused(tmp_path: Path):
    with pytest.raises(UserError, match=r"no image .* and no video file in it"):
        open_images(str(tmp_path))
    with pytest.raises(UserError, match="no target"):
        open_images(str(tmp_path / "nothing"))
