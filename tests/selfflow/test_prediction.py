"""Prediction: files named after frames, in every format, continued where it stopped."""

import cv2
import numpy as np
import pytest
import torch

from selfflow.io import read_flo, read_image, read_kitti_png
from selfflow.prediction import Prediction, frame_names, predict, read_npy, write_npy
from selfflow.runs.errors import UserError
from selfflow.video import open_target

PLAN = Prediction(model="counting", input="film", format="flo", iterations=3)


class Counting:
    """A model whose flow tells how often it was asked; it may fail on the way."""

    def __init__(self, fails_at=None):
        self.calls, self.fails_at = 0, fails_at

    def __call__(self, image1, image2, iterations=12):
        assert iterations == 3
        if self.calls == self.fails_at:
            raise KeyboardInterrupt
        self.calls += 1
        flow = torch.full((1, 2, *image1.shape[-2:]), 2.5)
        flow[:, 0] = (image1 - image2).abs().mean() * 100
        return flow


@pytest.fixture
def film(films, tmp_path):
    films.write_frames(tmp_path / "film", films.film(0, 4, height=40, width=51), "shot_{:02d}.png")
    return open_target(str(tmp_path / "film"))


def test_a_file_for_each_frame_but_the_last(film, tmp_path):
    summary = predict(Counting(), film, tmp_path / "out", PLAN)
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert written == ["prediction.json", "shot_00.flo", "shot_01.flo", "shot_02.flo"]
    assert (summary.written, summary.kept) == (3, 0)


@pytest.mark.parametrize(
    ("kind", "name", "read", "close"),
    [
        ("flo", "shot_01.flo", read_flo, 0),
        ("kitti", "shot_01.png", lambda path: read_kitti_png(path)[0], 1 / 128),
        ("npy", "shot_01.npy", read_npy, 0),
    ],
)
def test_files_hold_the_models_flow(film, tmp_path, kind, name, read, close):
    predict(Counting(), film, tmp_path / "out", Prediction("counting", "film", kind, 3))
    frames = [
        torch.from_numpy(film.sequences[0].frame(i)).permute(2, 0, 1)[None] / 255 for i in (1, 2)
    ]
    expected = Counting()(*frames, 3)[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(read(tmp_path / "out" / name), expected, atol=close + 1e-6)


def test_a_stopped_prediction_goes_on_and_ends_with_the_same_files(film, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        predict(Counting(fails_at=2), film, tmp_path / "out", PLAN)
    assert len(list((tmp_path / "out").glob("*.flo"))) == 2
    model = Counting()
    summary = predict(model, film, tmp_path / "out", PLAN)
    assert (summary.written, summary.kept, model.calls) == (1, 2, 1)
    predict(Counting(), film, tmp_path / "whole", PLAN)
    for path in (tmp_path / "whole").glob("*.flo"):
        assert path.read_bytes() == (tmp_path / "out" / path.name).read_bytes()


def test_frames_are_read_once_and_not_kept(film, tmp_path):
    sequence, read = film.sequences[0], []
    original = sequence.frame
    sequence.frame = lambda index: read.append(index) or original(index)
    predict(Counting(), film, tmp_path / "out", PLAN)
    assert read == [0, 1, 2, 3]


def test_pictures_and_a_film(film, tmp_path):
    out = tmp_path / "out"
    summary = predict(Counting(), film, out, PLAN, visualize=True)
    assert summary.videos == [str(out / "flow.mp4")]
    pictures = sorted(path.name for path in (out / "color").iterdir())
    assert pictures == ["shot_00.png", "shot_01.png", "shot_02.png"]
    picture = read_image(out / "color" / "shot_00.png")
    assert picture.shape == (40, 51, 3)
    assert picture.std(axis=(0, 1)).max() < 1, "a constant flow has one colour"
    capture = cv2.VideoCapture(str(out / "flow.mp4"))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 3
    read, shown = capture.read()
    assert read
    assert shown.shape == (40, 102, 3)
    left = np.abs(shown[:, :51, ::-1].astype(int) - film.sequences[0].frame(0)).mean()
    right = np.abs(shown[:, 51:, ::-1].astype(int) - picture).mean()
    assert max(left, right) < 15


def test_a_video_file_and_its_rate(films, tmp_path):
    films.write_video(tmp_path / "clip.mp4", films.film(1, 4, height=48, width=64), rate=7)
    target = open_target(str(tmp_path / "clip.mp4"))
    predict(Counting(), target, tmp_path / "out", PLAN, visualize=True)
    assert (tmp_path / "out" / "frame_000002.flo").exists()
    assert cv2.VideoCapture(str(tmp_path / "out" / "flow.mp4")).get(cv2.CAP_PROP_FPS) == 7


def test_several_sequences_get_folders(films, tmp_path):
    for number, size in enumerate((40, 48)):
        films.write_frames(tmp_path / "film" / f"s{number}", films.film(number, 3, height=size))
    target = open_target(str(tmp_path / "film"))
    summary = predict(Counting(), target, tmp_path / "out", PLAN)
    assert summary.written == 4
    assert read_flo(tmp_path / "out" / "s1" / "00001.flo").shape == (48, 128, 2)


def test_a_folder_of_another_prediction_is_refused(film, tmp_path):
    predict(Counting(), film, tmp_path / "out", PLAN)
    with pytest.raises(UserError, match="with model counting, not other"):
        predict(Counting(), film, tmp_path / "out", Prediction("other", "film", "flo", 3))


def test_a_folder_of_something_else_is_refused(film, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(UserError, match="choose another --out"):
        predict(Counting(), film, tmp_path / "mine", PLAN)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["letter.txt"]


def test_npy_files_with_objects_are_refused(tmp_path):
    np.save(tmp_path / "bad.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(UserError, match=r"bad\.npy"):
        read_npy(tmp_path / "bad.npy")
    write_npy(tmp_path / "good.npy", np.ones((2, 3, 2)))
    assert read_npy(tmp_path / "good.npy").dtype == np.float32


def test_frames_of_a_video_are_numbered(films, tmp_path):
    films.write_video(tmp_path / "clip.mp4", films.film(2, 2))
    target = open_target(str(tmp_path / "clip.mp4"))
    assert frame_names(target.sequences[0]) == ["frame_000000", "frame_000001"]
