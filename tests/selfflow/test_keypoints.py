"""Keypoints by flow: PCK computed by hand on films of known motion, in BADJA's files."""

import json
import math
from io import StringIO

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from rich.console import Console

from selfflow.badja import JOINTS, find_badja, joint_videos
from selfflow.cli.evaluate import evaluate_command
from selfflow.io import write_image
from selfflow.keypoints import carry, correct, evaluate_keypoints
from selfflow.runs.cli import Group
from selfflow.runs.errors import UserError

HEIGHT, WIDTH = 60, 90
AT = {8: (20.0, 30.0), 15: (10.0, 40.0), 36: (50.0, 20.0)}  # joint to row, column in frame 0


class Pan:
    """A model that always sees the same motion."""

    def __init__(self, x, y=0.0):
        self.flow = torch.tensor((x, y))

    def __call__(self, image1, image2, iterations=12):
        return self.flow.view(1, 2, 1, 1).expand(1, 2, *image1.shape[-2:])


def annotate(root, name, frames, *, step=2, speed=3.0, size=(HEIGHT, WIDTH), place=None, hidden=()):
    """Write a video of `frames` frames whose joints move right by `speed` px of it a frame.

    Every `step`-th one is annotated; the mask is 20x20 px of 60x90. `hidden` are joints that are
    not visible from the second annotated frame on.
    """
    place = place or f"DAVIS/{{}}/Full-Resolution/{name}"
    scale = size[0] / HEIGHT
    entries = []
    for number in range(frames):
        image = f"{place.format('JPEGImages')}/{number:05d}.png"
        picture = np.full((*size, 3), number, np.uint8)
        write_image(root / image, picture)
        if number % step:
            continue
        mask = np.zeros((*size, 3), np.uint8)
        mask[: round(20 * scale), : round(20 * scale)] = 128
        segmentation = f"{place.format('Annotations')}/{number:05d}.png"
        write_image(root / segmentation, mask)
        joints, visibility = [[0, 0]] * 37, [False] * 37
        for joint, (row, column) in AT.items():
            joints[joint] = [row * scale, (column + speed * number) * scale]
            visibility[joint] = not (number and joint in hidden)
        # A joint outside the catalogue, which does not count.
        joints[34], visibility[34] = [0, number], True
        entries.append(
            {
                "image_path": image,
                "segmentation_path": segmentation,
                "joints": joints,
                "visibility": visibility,
            }
        )
    path = root / "joint_annotations" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(entries))


def measured(root, model, **settings):
    videos, skipped = joint_videos(root, root / "nothing")
    return evaluate_keypoints(model, videos, skipped=skipped, **settings)


def test_pck_by_hand(tmp_path):
    """The threshold is 0.2 · √(20 · 20) = 4 px; a model 1.5 px a frame too slow is 3 px off after
    two frames, 6 px after four."""
    annotate(tmp_path, "bear", 5)
    right, slow = measured(tmp_path, Pan(3.0)), measured(tmp_path, Pan(1.5))
    for start in ("next", "first"):
        assert right.pooled(start) == right.per_video(start) == 100
    assert slow.pooled("next") == 100
    assert slow.pooled("first") == 50
    assert slow.scores["bear"].total == {"next": 6, "first": 6}
    assert measured(tmp_path, Pan(0.9)).pooled("next") == 0, "4.2 px off"


def test_both_averages_and_only_joints_that_are_visible_at_both_ends(tmp_path):
    annotate(tmp_path, "bear", 3, hidden=(8, 15))
    annotate(tmp_path, "camel", 5, speed=0.0)
    result = measured(tmp_path, Pan(3.0))
    assert result.scores["bear"].total["next"] == 1
    assert result.scores["camel"].total == {"next": 6, "first": 6}
    assert result.scores["camel"].pck("next") == 0, "6 px off"
    assert result.pooled("next") == pytest.approx(100 / 7)
    assert result.per_video("next") == 50
    found = result.as_dict()["results"]["next"]
    assert found == {
        "pooled": pytest.approx(100 / 7),
        "per_video": 50,
        "each": {"bear": 100, "camel": 0},
        "joints": 7,
    }


def test_resized_frames_scale_positions_and_threshold(tmp_path):
    annotate(tmp_path, "bear", 5, size=(120, 180))
    for short_side, speed in ((120, 2.0), (60, 1.0)):
        full = measured(tmp_path, Pan(1.5 * speed), short_side=short_side)
        assert full.pooled("next") == 100
        assert full.pooled("first") == 50
        assert measured(tmp_path, Pan(0.9 * speed), short_side=short_side).pooled("next") == 0


def test_davis_at_480p_stands_in_for_full_resolution(tmp_path):
    """BADJA's positions are of 1920x1080; frames here are 106x60, as 480p is 854x480."""
    root, data = tmp_path / "badja", tmp_path / "data"
    annotate(root, "bear", 5, size=(1080, 1920))
    place = "DAVIS/{}/480p/bear"
    annotate(data, "bear", 5, size=(60, 106), place=place)
    for image in (root / "DAVIS").rglob("*.png"):
        image.unlink()
    videos, skipped = joint_videos(root, data)
    assert skipped == {}
    assert videos[0].frames.size == (60, 106)
    mean = evaluate_keypoints(Pan(3.0 * 106 / 1920 * 18), videos)
    assert mean.pooled("first") == 100
    assert evaluate_keypoints(Pan(0.9), videos).pooled("next") == 0


def test_what_is_not_there_is_left_out_and_said(tmp_path):
    annotate(tmp_path, "bear", 3)
    annotate(tmp_path, "tiger", 3, place="extra_videos/tiger/{}")
    annotate(tmp_path, "rs_dog", 3, place="extra_videos/rs_dog/{}")
    (tmp_path / "extra_videos" / "tiger" / "JPEGImages" / "00000.png").unlink()
    annotate(tmp_path, "cows", 5)
    (tmp_path / "DAVIS" / "JPEGImages" / "Full-Resolution" / "cows" / "00003.png").unlink()
    result = measured(tmp_path, Pan(3.0))
    assert list(result.scores) == ["bear", "rs_dog"]
    assert "00000.png" in result.skipped["tiger"]
    assert "not all frames between 00000.png and 00004.png" in result.skipped["cows"]
    videos, skipped = joint_videos(tmp_path, davis_only=True)
    assert [video.frames.name for video in videos] == ["bear"]
    assert list(skipped) == ["cows"]


def test_annotations_need_not_begin_with_the_first_frame(tmp_path):
    annotate(tmp_path, "bear", 7)
    path = tmp_path / "joint_annotations" / "bear.json"
    path.write_text(json.dumps(json.loads(path.read_text())[1:3]))
    videos, _ = joint_videos(tmp_path)
    assert [file.stem for file in videos[0].frames.paths] == ["00002", "00003", "00004"]
    assert list(videos[0].joints) == [0, 2]
    assert measured(tmp_path, Pan(3.0)).pooled("next") == 100


def test_points_follow_the_flow_between_pixels_and_beyond_the_border():
    y, x = torch.meshgrid(torch.arange(5.0), torch.arange(6.0), indexing="ij")
    flow = torch.stack((0.5 * x + y, -0.25 * x + 2))[None]
    points = torch.tensor([[1.5, 2.25], [0.0, 0.0], [7.0, -3.0]])
    expected = [[1.5 + 3.0, 2.25 + 1.625], [0.0, 2.0], [7.0 + 2.5, -3.0 + 0.75]]
    assert carry(points, flow).tolist() == [pytest.approx(each) for each in expected]


def test_the_threshold_by_hand():
    true = torch.tensor([[10.0, 10.0]] * 3)
    off = torch.tensor([[3.9, 0.0], [3.0, 3.0], [0.0, -4.1]])
    expected = [math.hypot(*each) < 0.2 * math.sqrt(400) for each in off.tolist()]
    assert correct(true + off, true, 400).tolist() == expected == [True, False, False]


def test_the_command_finds_badja_and_its_table_fits(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    annotate(tmp_path / "data" / "BADJA", "bear", 3, speed=0.0)
    main = Group(commands={"evaluate": evaluate_command})
    for data in ("badja", "davis-badja", "data/BADJA"):
        arguments = ["evaluate", "--model", "zero", "--data", data]
        result = CliRunner().invoke(main, [*arguments, "--json"])
        assert result.exit_code == 0, result.output
        found = json.loads(result.stdout)
        assert found["results"]["first"]["pooled"] == 100
        assert found["published"]["S-AF"] == 51.9
        shown = CliRunner().invoke(main, arguments).stdout
        assert "bear" in shown
        assert all(len(line.rstrip()) <= 100 for line in shown.splitlines())
    refused = CliRunner().invoke(
        main, ["evaluate", "--model", "zero", "--data", "badja", "--set", "warm_start=true"]
    )
    assert "zero cannot be started" in refused.stderr


def test_the_table_says_what_was_left_out(tmp_path):
    annotate(tmp_path, "bear", 3)
    annotate(tmp_path, "tiger", 3, place="extra_videos/tiger/{}")
    (tmp_path / "extra_videos" / "tiger" / "JPEGImages" / "00000.png").unlink()
    console = Console(width=100, file=StringIO())
    console.print(measured(tmp_path, Pan(3.0)).tables()[0])
    assert "Left out: tiger." in " ".join(console.file.getvalue().split())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda entries: {}, "a list"),
        (lambda entries: [], "a list"),
        (lambda entries: [{"joints": []}, *entries], "needs image_path"),
        (lambda entries: [{**entries[0], "joints": [[0, 0]] * 5}], "37 joints"),
        (lambda entries: [{**entries[0], "visibility": [True]}], "37 joints"),
        (lambda entries: entries[::-1], "order of time"),
        (lambda entries: entries[:1], "two annotated frames"),
    ],
)
def test_wrong_annotations_are_named(tmp_path, change, said):
    annotate(tmp_path, "bear", 3)
    path = tmp_path / "joint_annotations" / "bear.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(UserError, match=f"bear.json: .*{said}"):
        joint_videos(tmp_path)


def test_where_nothing_can_be_used(tmp_path):
    with pytest.raises(UserError, match="benjiebob"):
        find_badja("badja", tmp_path)
    assert find_badja(str(tmp_path)) is None
    assert find_badja("sintel", tmp_path) is None
    (tmp_path / "joint_annotations").mkdir()
    with pytest.raises(UserError, match="no video of it can be used: there is none"):
        joint_videos(tmp_path)
    assert max(JOINTS) == 36
    assert len(JOINTS) == 20
