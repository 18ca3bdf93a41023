"""Frames of video files, and what is said where they are broken."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from selfflow.runs.errors import UserError
from selfflow.videofile import VideoFile


@pytest.mark.parametrize(("codec", "suffix"), [("mp4v", "mp4"), ("MJPG", "avi")])
def test_video_frames_are_the_same_sought_or_read_on(
    tmp_path: Path, films: SimpleNamespace, codec: str, suffix: str
) -> None:
    path = tmp_path / f"film.{suffix}"
    frames = films.film(0, 30)
    films.write_video(path, frames, codec, rate=12.5)
    video = VideoFile(path)
    assert (video.name, len(video), video.size) == ("film", 30, (96, 128))
    assert video.frame_rate == pytest.approx(12.5)
    in_order = [video.frame(index) for index in range(30)]
    for frame, original in zip(in_order, frames, strict=True):
        assert np.abs(frame.astype(int) - original).mean() < 12  # lossy, but the right frame, RGB
    for index in (17, 3, 4, 29, 0, 12):
        np.testing.assert_array_equal(video.frame(index), in_order[index])
    with pytest.raises(IndexError):
        video.frame(30)


def test_frames_are_counted_where_seeking_would_do_as_well(
    tmp_path: Path, films: SimpleNamespace
) -> None:
    films.write_video(tmp_path / "film.mp4", films.film(0, 60, step=1))
    in_order = [*map(VideoFile(tmp_path / "film.mp4").frame, range(60))]
    video = VideoFile(tmp_path / "film.mp4")
    for index in (40, 41, 3, 50):
        np.testing.assert_array_equal(video.counted_frame(index), in_order[index])
        np.testing.assert_array_equal(video.frame(59 - index), in_order[59 - index])


def test_frames_of_uneven_times_are_counted(tmp_path: Path, films: SimpleNamespace) -> None:
    """A telephone's film: the second half has a third of the rate."""
    path, frames = tmp_path / "film.mp4", films.film(0, 90, step=2)
    size = (frames[0].shape[1], frames[0].shape[0])
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 30, size)
    property_of_times = getattr(cv2, "VIDEOWRITER_PROP_PTS", None)
    if property_of_times is None:
        pytest.skip("this OpenCV writes frames of even times only")
    for number, frame in enumerate(frames):
        writer.set(property_of_times, number if number < 45 else 45 + 3 * (number - 45))
        writer.write(frame[..., ::-1])
    writer.release()
    capture, in_order = cv2.VideoCapture(str(path)), []
    while (read := capture.read())[0]:
        in_order.append(read[1][..., ::-1])
    video = VideoFile(path)
    for index in (70, 10, 60):
        video.frame(min(index + 35, 80))  # seeks, and loses count
        np.testing.assert_array_equal(video.counted_frame(index), in_order[index])


@pytest.mark.parametrize(("codec", "suffix"), [("mp4v", "mp4"), ("MJPG", "avi"), ("mp4v", "avi")])
def test_a_truncated_video_is_named(
    tmp_path: Path, films: SimpleNamespace, capfd: pytest.CaptureFixture[str], codec: str,
    suffix: str,
) -> None:  # fmt: skip
    path = tmp_path / f"film.{suffix}"
    films.write_video(path, films.film(0, 40), codec)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    video = VideoFile(path)
    with pytest.raises(UserError, match=rf"film.{suffix}.*truncated"):
        len(video)
    assert capfd.readouterr().err == ""  # FFmpeg keeps quiet


def test_what_is_no_video_is_named(tmp_path: Path) -> None:
    (tmp_path / "film.mp4").write_text("no video")
    with pytest.raises(UserError, match=r"film.mp4: not a video"):
        len(VideoFile(tmp_path / "film.mp4"))
    with pytest.raises(UserError, match=r"missing.mp4: cannot be read \(No such file"):
        len(VideoFile(tmp_path / "missing.mp4"))


def test_more_videos_than_are_held_open(tmp_path: Path, films: SimpleNamespace) -> None:
    videos = []
    for number in range(12):
        films.write_video(tmp_path / f"{number}.avi", films.film(number, 4), "MJPG")
        videos.append(VideoFile(tmp_path / f"{number}.avi"))
    before = [video.frame(1) for video in videos]
    for video, frame in zip(videos, before, strict=True):
        np.testing.assert_array_equal(video.frame(1), frame)


def test_several_threads_get_the_right_frames(tmp_path: Path, films: SimpleNamespace) -> None:
    films.write_video(tmp_path / "film.mp4", films.film(0, 20))
    video = VideoFile(tmp_path / "film.mp4")
    frames = [video.frame(index) for index in range(20)]
    order = [(7 * index) % 20 for index in range(60)]
    with ThreadPoolExecutor(4) as pool:
        for index, frame in zip(order, pool.map(video.frame, order), strict=True):
            np.testing.assert_array_equal(frame, frames[index])
