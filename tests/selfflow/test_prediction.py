"""Prediction: files named after frames, in every format, continued where it stopped."""

import csv
import itertools
import json
import pkgutil

import cv2
import numpy as np
import pytest
import torch

from selfflow.flow import visible_by_consistency
from selfflow.flowfiles import read_npy, write_npy
from selfflow.io import read_flo, read_image, read_kitti_png, write_image
from selfflow.prediction import Extras, Prediction, predict
from selfflow.prediction_pairs import frame_name
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

    def bidirectional(self, image1, image2, iterations=12):
        """Flow that is undone everywhere but in the left third."""
        forward = self(image1, image2, iterations)
        backward = -forward
        backward[..., : image1.shape[-1] // 3] += 9
        return forward, backward


@pytest.fixture
def film(films, tmp_path):
    films.write_frames(tmp_path / "film", films.film(0, 4, height=40, width=51), "shot_{:02d}.png")
    return open_target(str(tmp_path / "film"))


def test_a_file_for_each_frame_but_the_last(film, tmp_path):
    summary = predict(Counting(), film, tmp_path / "out", PLAN)
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert written == [
        "pairs.csv", "prediction.json", "shot_00.flo", "shot_01.flo", "shot_02.flo",
    ]  # fmt: skip
    assert (summary.written, summary.kept, summary.cuts) == (3, 0, 0)


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
    assert _contents(tmp_path / "whole") == _contents(tmp_path / "out")
    assert predict(Counting(fails_at=0), film, tmp_path / "out", PLAN).kept == 3


def _contents(folder):
    return {
        path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


class Killed(BaseException):
    """What `kill -9` looks like from within: nothing is tidied up by the code under test."""


ALL = Extras(visibility=True, pictures=True, film=True, quality=True)


@pytest.mark.parametrize(
    ("place", "calls"),
    [
        ("selfflow.prediction_pairs.write_image", (0, 1, 3)),
        ("selfflow.rowfile.RowFile.append", (0, 1, 2)),
        ("selfflow.film._even", (1,)),
        ("selfflow.prediction.plot_quality", (0,)),
    ],
)
def test_stopped_before_a_file_is_written_it_ends_with_the_same_files(
    film, tmp_path, monkeypatch, place, calls
):
    monkeypatch.setattr("selfflow.prediction.plot_quality", lambda table, path: None)
    predict(Counting(), film, tmp_path / "whole", PLAN, ALL)
    whole = _contents(tmp_path / "whole")
    for number in calls:
        out = tmp_path / f"out{number}"
        with monkeypatch.context() as patch:
            _kill_at(patch, place, number)
            with pytest.raises(Killed):
                predict(Counting(), film, out, PLAN, ALL)
        again = predict(Counting(), film, out, PLAN, ALL)
        assert again.written + again.kept == 3
        assert _contents(out) == whole, f"{place}, call {number}"


def _kill_at(patch, place, number):
    original, counter = pkgutil.resolve_name(place), itertools.count()

    def call(*arguments):
        if next(counter) == number:
            raise Killed
        return original(*arguments)

    patch.setattr(place, call)


def test_a_line_that_a_kill_cut_off_is_made_again(film, tmp_path, monkeypatch):
    monkeypatch.setattr("selfflow.prediction.plot_quality", lambda table, path: None)
    out = tmp_path / "out"
    predict(Counting(), film, out, PLAN, ALL)
    whole = _contents(out)
    for table in (out / "pairs.csv", out / "quality.csv"):
        table.write_bytes(table.read_bytes()[:-9])
        again = predict(Counting(), film, out, PLAN, ALL)
        assert (again.written, again.kept) == (1, 2)
        assert _contents(out) == whole


def test_what_is_asked_for_later_is_added(film, tmp_path, monkeypatch):
    monkeypatch.setattr("selfflow.prediction.plot_quality", lambda table, path: None)
    predict(Counting(), film, tmp_path / "out", PLAN)
    pictures = Extras(pictures=True)
    predict(Counting(fails_at=0), film, tmp_path / "out", PLAN, pictures)  # read from the files
    predict(Counting(), film, tmp_path / "out", PLAN, ALL)
    predict(Counting(), film, tmp_path / "whole", PLAN, ALL)
    assert _contents(tmp_path / "out") == _contents(tmp_path / "whole")


def test_no_flow_across_a_cut_and_it_is_recorded(films, tmp_path, monkeypatch):
    monkeypatch.setattr("selfflow.prediction.plot_quality", lambda table, path: None)
    frames = films.film(0, 4) + films.film(5, 3)
    films.write_frames(tmp_path / "film", frames)
    target = open_target(str(tmp_path / "film"))
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):  # just after the cut
        predict(Counting(fails_at=3), target, out, PLAN, ALL)
    summary = predict(Counting(), target, out, PLAN, ALL)
    assert (summary.written, summary.kept, summary.cuts) == (2, 3, 1)
    assert not (out / "00003.flo").exists()
    assert not (out / "color" / "00003.png").exists()
    rows = list(csv.DictReader((out / "pairs.csv").open()))
    assert [row["cut"] for row in rows] == ["0", "0", "0", "1", "0", "0"]
    assert [row["frame"] for row in rows][3:5] == ["00003", "00004"]
    quality = list(csv.DictReader((out / "quality.csv").open()))
    assert [row["motion"] == "" for row in quality] == [row["cut"] == "1" for row in rows]
    assert summary.quality["film"].pairs == 5
    # The film goes on in step with the frames.
    assert cv2.VideoCapture(str(out / "flow.mp4")).get(cv2.CAP_PROP_FRAME_COUNT) == 6
    predict(Counting(), target, tmp_path / "whole", PLAN, ALL)
    assert _contents(out) == _contents(tmp_path / "whole")


def test_masks_are_the_forward_backward_checks(film, tmp_path):
    predict(Counting(), film, tmp_path / "out", PLAN, Extras(visibility=True))
    images = [
        torch.from_numpy(film.sequences[0].frame(i)).permute(2, 0, 1)[None] / 255 for i in (1, 2)
    ]
    expected = visible_by_consistency(*Counting().bidirectional(*images, 3))[0, 0].numpy()
    mask = read_image(tmp_path / "out" / "visible" / "shot_01.png")
    assert set(np.unique(mask)) == {0, 255}
    np.testing.assert_array_equal(mask[..., 0] > 0, expected)


def test_a_film_alone_leaves_no_pictures_and_no_flow(film, tmp_path):
    plan = Prediction("counting", "film", "none", 3)
    summary = predict(Counting(), film, tmp_path / "out", plan, Extras(film=True))
    assert summary.written == 3
    left = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert left == ["flow.mp4", "pairs.csv", "prediction.json"]
    again = predict(Counting(fails_at=0), film, tmp_path / "out", plan, Extras(film=True))
    assert (again.written, again.kept) == (0, 3)


def test_the_scale_of_colours_follows_the_motion_and_starts_anew_at_a_cut(films, tmp_path):
    films.write_frames(tmp_path / "film", films.film(0, 4) + films.film(5, 3))

    class Slowing(Counting):
        def __call__(self, image1, image2, iterations=12):
            length = (10.0, 4.0, 20.0, 1.0, 1.0)[self.calls]
            self.calls += 1
            return torch.full((1, 2, *image1.shape[-2:]), length / 2**0.5)

    predict(Slowing(), open_target(str(tmp_path / "film")), tmp_path / "out", PLAN)
    rows = csv.DictReader((tmp_path / "out" / "pairs.csv").open())
    scales = [float(row["scale"]) for row in rows]
    assert scales == pytest.approx([10, 9.9, 20, 0, 1, 1], abs=1e-4)


def test_frames_are_reduced_to_a_size(film, tmp_path):
    plan = Prediction("counting", "film", "flo", 3, size=20)
    predict(Counting(), film, tmp_path / "out", plan, Extras(film=True))
    assert read_flo(tmp_path / "out" / "shot_00.flo").shape == (20, 26, 2)
    with pytest.raises(UserError, match="with size 20, not None"):
        predict(Counting(), film, tmp_path / "out", PLAN)


def test_another_video_of_that_name_is_noticed(film, films, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        predict(Counting(fails_at=2), film, tmp_path / "out", PLAN)
    write_image(tmp_path / "film" / "shot_02.png", films.texture(9, 40, 51))
    with pytest.raises(UserError, match="shot_02 is not what it was"):
        predict(Counting(), film, tmp_path / "out", PLAN)


class Failing(Counting):
    def __call__(self, image1, image2, iterations=12):
        raise RuntimeError("out of memory")


def test_nothing_remains_where_the_first_flow_fails(film, tmp_path):
    with pytest.raises(RuntimeError, match="out of memory"):
        predict(Failing(), film, tmp_path / "out", PLAN, Extras(pictures=True))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("spoilt", ["first", "text", "size"])
def test_nothing_remains_where_frames_are_bad(film, films, tmp_path, spoilt):
    folder = tmp_path / "film"
    if spoilt == "first":
        path = folder / "shot_00.png"
        path.write_bytes(path.read_bytes()[:200])
    elif spoilt == "text":
        path = folder / "shot_02.png"
        path.write_text("dear")
    else:
        path = folder / "shot_03.png"
        write_image(path, films.texture(0, 30, 51))
    with pytest.raises(UserError, match=path.name):
        predict(Counting(), open_target(str(folder)), tmp_path / "out", PLAN)
    assert not (tmp_path / "out").exists()


def test_nothing_remains_where_a_video_is_truncated(films, tmp_path):
    films.write_video(tmp_path / "clip.avi", films.film(1, 30), "MJPG")
    content = (tmp_path / "clip.avi").read_bytes()
    (tmp_path / "clip.avi").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"clip\.avi.*truncated"):
        predict(Counting(), open_target(str(tmp_path / "clip.avi")), tmp_path / "out", PLAN)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_is_named(film, tmp_path):
    (tmp_path / "note.txt").write_text("dear")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=r"note\.txt"):
        predict(Counting(), film, tmp_path / "note.txt" / "out", PLAN)
    assert sorted(tmp_path.rglob("*")) == before


def test_quality_is_written_as_table_plot_and_summary(film, tmp_path):
    out = tmp_path / "out"
    summary = predict(Counting(), film, out, PLAN, Extras(quality=True))
    rows = list(csv.DictReader((out / "quality.csv").open()))
    assert [row["frame"] for row in rows] == ["shot_00", "shot_01", "shot_02"]
    errors = {row["frame"]: float(row["forward_backward"]) for row in rows}
    found = json.loads((out / "quality.json").read_text())
    assert found["worst"] == dict(sorted(errors.items(), key=lambda item: -item[1]))
    assert found["means"]["forward_backward"] == pytest.approx(np.mean(list(errors.values())))
    assert summary.quality["film"].means == found["means"]
    assert read_image(out / "quality.png").std() > 5


def test_frames_are_read_once_and_not_kept(film, tmp_path):
    sequence, read = film.sequences[0], []
    original = sequence.frame
    sequence.frame = lambda index: read.append(index) or original(index)
    predict(Counting(), film, tmp_path / "out", PLAN)
    assert read == [0, 1, 2, 3]


def test_pictures_and_a_film(film, tmp_path):
    out = tmp_path / "out"
    summary = predict(Counting(), film, out, PLAN, Extras(pictures=True, film=True))
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
    predict(Counting(), target, tmp_path / "out", PLAN, Extras(pictures=True, film=True))
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
    assert frame_name(target.sequences[0], 1) == "frame_000001"
