"""Targets by name and from any path."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from selfflow.runs.errors import UserError
from selfflow.video import known_targets, open_target


def shape(name: str, root: Path | None = None) -> dict[str, int]:
    return {sequence.name: len(sequence) for sequence in open_target(name, root).sequences}


def test_the_sample_has_ground_truth() -> None:
    target = open_target("sample")
    assert target.has_ground_truth
    assert {s.name: len(s) for s in target.sequences} == {"room": 24, "yard": 24}
    assert target["yard"].name == "yard"
    with pytest.raises(UserError, match="no sequence attic"):
        target["attic"]


def test_a_video_file(tmp_path: Path, films: SimpleNamespace) -> None:
    films.write_video(tmp_path / "walk.mp4", films.film(0, 12))
    target = open_target(str(tmp_path / "walk.mp4"))
    assert target.name == "walk"
    assert [len(sequence) for sequence in target.sequences] == [12]
    assert not target.has_ground_truth


def test_a_folder_of_frames(tmp_path: Path, films: SimpleNamespace) -> None:
    films.write_frames(tmp_path / "walk", films.film(0, 4))
    assert shape(str(tmp_path / "walk")) == {"walk": 4}


def test_a_folder_of_folders_of_other_sizes_and_videos(
    tmp_path: Path, films: SimpleNamespace
) -> None:
    films.write_frames(tmp_path / "all/a", films.film(0, 4))
    films.write_frames(tmp_path / "all/day 2/b", films.film(1, 3, height=64))
    films.write_video(tmp_path / "all/c.avi", films.film(2, 5), "MJPG")
    target = open_target(str(tmp_path / "all"))
    assert {s.name: len(s) for s in target.sequences} == {"a": 4, "day 2/b": 3, "c.avi": 5}
    assert target["day 2/b"].size == (64, 128)


def test_davis_and_cityscapes(tmp_path: Path, films: SimpleNamespace) -> None:
    films.write_frames(tmp_path / "DAVIS/JPEGImages/480p/bus", films.film(0, 3))
    films.write_frames(tmp_path / "DAVIS/JPEGImages/480p/bear", films.film(1, 4))
    films.write_frames(tmp_path / "DAVIS/Annotations/480p/bear", films.film(1, 4))
    assert shape("davis", tmp_path) == {"bear": 4, "bus": 3}
    assert shape("DAVIS", tmp_path) == {"bear": 4, "bus": 3}
    assert shape(str(tmp_path / "DAVIS")) == {"bear": 4, "bus": 3}
    city = tmp_path / "Cityscapes/leftImg8bit_sequence/train/aachen"
    for snippet in (0, 1):
        name = f"aachen_{snippet:06d}_{{:06d}}_leftImg8bit.png"
        films.write_frames(city, films.film(snippet, 3), name)
    target = open_target("cityscapes", tmp_path)
    assert [len(sequence) for sequence in target.sequences] == [3, 3]
    assert target.sequences[0].frame_rate == 17


def test_camvid_at_both_rates(tmp_path: Path, films: SimpleNamespace) -> None:
    films.write_frames(tmp_path / "CamVid/train", films.film(0, 3), "0001TP_{:06d}.png")
    films.write_frames(tmp_path / "CamVid/train", films.film(1, 4), "0006R0_f{:05d}.png")
    films.write_frames(tmp_path / "CamVid/trainannot", films.film(1, 4))
    films.write_frames(tmp_path / "CamVid/val", films.film(2, 5), "0016E5_{:05d}.png")
    sequences = open_target("camvid", tmp_path).sequences
    assert [(len(s), s.frame_rate) for s in sequences] == [(3, 1), (4, 1), (5, 15)]


@pytest.mark.parametrize("place", ["2011_09_26/{}_sync/image_02/data", "{}"])
def test_raw_kitti(tmp_path: Path, films: SimpleNamespace, place: str) -> None:
    for number in (1, 2):
        folder = tmp_path / "kitti_raw" / place.format(f"2011_09_26_drive_000{number}")
        films.write_frames(folder, films.film(number, 3), "{:010d}.png")
        films.write_frames(folder.parents[1] / "image_03/data", films.film(number, 3))
    target = open_target("kitti_raw", tmp_path)
    assert [(len(s), s.frame_rate) for s in target.sequences] == [(3, 10), (3, 10)]
    assert "drive_0001" in target.sequences[0].name
    assert shape(str(tmp_path / "kitti_raw")) == {s.name: 3 for s in target.sequences}


@pytest.mark.parametrize("kind", ["videos", "frames"])
def test_bdd100k(tmp_path: Path, films: SimpleNamespace, kind: str) -> None:
    if kind == "videos":
        films.write_video(tmp_path / "bdd100k/videos/train/b1c6.mov", films.film(0, 4))
        expected = "b1c6"
    else:
        folder = tmp_path / "bdd100k/images/track/train/b1c6-0"
        films.write_frames(folder, films.film(0, 4), "b1c6-0-{:07d}.png")
        expected = "b1c6-0"
    assert shape("bdd100k", tmp_path) == {expected: 4}


def test_sintel_is_the_final_pass(tmp_path: Path, films: SimpleNamespace) -> None:
    for part, seed in (("clean", 0), ("final", 1)):
        folder = tmp_path / f"sintel/training/{part}/alley_1"
        films.write_frames(folder, films.film(seed, 3), "frame_{:04d}.png")
    target = open_target("sintel", tmp_path)
    assert [len(sequence) for sequence in target.sequences] == [3]
    np.testing.assert_array_equal(target.sequences[0].frame(0), films.film(1, 3)[0])
    assert not target.has_ground_truth  # no flow in this one


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: None, r"no target .*thing.*sample, davis"),
        (lambda path: path.mkdir(), "thing: no video file and no two consecutive frames"),
        (lambda path: path.write_text("hello"), "thing: not a video file"),
    ],
)
def test_what_is_no_target_is_said(tmp_path: Path, make, says: str) -> None:  # type: ignore[no-untyped-def]
    make(tmp_path / "thing")
    with pytest.raises(UserError, match=says):
        open_target(str(tmp_path / "thing"))


def test_known_names() -> None:
    assert {"sample", "davis", "sintel", "kitti", "camvid", "cityscapes", "bdd100k"} <= set(
        known_targets()
    )
