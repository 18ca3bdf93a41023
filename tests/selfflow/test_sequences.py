"""Frames from folders and video files, and what is said where they are broken."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from selfflow.runs.errors import UserError
from selfflow.sequences import ImageSequence, frame_runs, image_sequences


def names(folder: Path, *files: str) -> list[list[str]]:
    folder.mkdir(exist_ok=True)
    for file in files:
        (folder / file).touch()
    return [[path.name for path in run] for run in frame_runs(folder)]


def test_a_run_ends_where_numbers_jump(tmp_path: Path) -> None:
    files = ["f1.png", "f2.png", "f3.png", "f10.png", "f11.png", "notes.txt"]
    assert names(tmp_path / "a", *files) == [files[:3], files[3:5]]


def test_numbers_sort_as_numbers(tmp_path: Path) -> None:
    assert names(tmp_path / "a", "f8.png", "f9.png", "f10.png") == [["f8.png", "f9.png", "f10.png"]]


@pytest.mark.parametrize(
    ("files", "runs"),
    [
        # CamVid: recordings at 1 Hz, with a jump inside the second
        (
            ["0001TP_006690.jpg", "0001TP_006720.jpg", "0016E5_00390.jpg", "0016E5_00420.jpg",
             "0016E5_00451.jpg", "0016E5_04350.jpg", "0016E5_04380.jpg"],
            [2, 3, 2],
        ),
        # Cityscapes: the counter is not the last number
        ([f"aachen_00000{s}_00000{k}_leftImg8bit.png" for s in (0, 1) for k in range(3)], [3, 3]),
        # KITTI: pairs
        ([f"00000{s}_{k}.png" for s in range(4) for k in (10, 11)], [2, 2, 2, 2]),
        # names without numbers
        (["b.png", "a.png", "c.png"], [3]),
        # time stamps are not evenly spaced
        ([f"14036365{t}.png" for t in (10, 15, 19, 25, 30)], [5]),
        # pictures beside masks of the same number
        (["0.jpg", "1.jpg", "0.png", "1.png"], [2, 2]),
        # a single picture is no sequence
        (["1.png"], []),
    ],
)  # fmt: skip
def test_recordings_are_told_apart(tmp_path: Path, files: list[str], runs: list[int]) -> None:
    found = names(tmp_path / "a", *files)
    assert [len(run) for run in found] == runs
    assert all(run == sorted(run) for run in found)


def test_frames_are_read_in_order_with_size_and_names(
    tmp_path: Path, films: SimpleNamespace
) -> None:
    frames = films.film(0, 4)
    films.write_frames(tmp_path, frames)
    (sequence,) = image_sequences(tmp_path, "walk", frame_rate=12.0)
    assert (sequence.name, len(sequence), sequence.size) == ("walk", 4, (96, 128))
    assert (sequence.frame_rate, sequence.frame_name(2)) == (12.0, "00002")
    for index, frame in enumerate(frames):
        np.testing.assert_array_equal(sequence.frame(index), frame)
    with pytest.raises(IndexError):
        sequence.frame(4)
    assert sequence.flow(0) is None


def test_a_changed_size_is_named(tmp_path: Path, films: SimpleNamespace) -> None:
    frames = films.film(0, 3)
    paths = films.write_frames(tmp_path, [*frames, frames[0][:-2]])
    with pytest.raises(UserError, match=r"00003.png.*128x94.*began with 128x96"):
        ImageSequence("s", paths).frame(3)


def test_a_text_file_named_png_is_named(tmp_path: Path, films: SimpleNamespace) -> None:
    paths = films.write_frames(tmp_path, films.film(0, 3))
    paths[1].write_text("no picture")
    with pytest.raises(UserError, match=r"00001.png: not an image"):
        ImageSequence("s", paths).frame(1)
