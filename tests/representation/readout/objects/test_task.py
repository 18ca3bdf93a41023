"""Detection and instances from the command line, on squares."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from representation.cli import main
from representation.models import build, save
from representation.readout import READOUTS
from representation.readout.objects.detectors import new_detector, trained
from representation.readout.objects.protocols import DETECTION, INSTANCES
from selfflow.io import read_image
from selfflow.runs.config import load

TINY = {
    "batch_size": "2",
    "images": "4",
    "short_sides": "[64]",
    "test_short_side": "64",
    "long_side": "96",
    "precise_norm": "1",
    "pictures": "1",
    "detector.pyramid": "16",
    "detector.width": "16",
    "detector.mask_width": "8",
    "detector.keypoint_width": "8",
    "detector.candidates": "30",
    "detector.proposals": "30",
    "detector.test_candidates": "10",
    "detector.test_proposals": "10",
    "detector.box_samples": "8",
    "detector.score": "0.0",
    "detector.detections": "5",
    "loop.steps": "1",
}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SELFFLOW_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def run(task: str, data: Path, *arguments: str) -> Result:
    own = [part for key, value in TINY.items() for part in ("--set", f"{key}={value}")]
    names = ["--encoder", "random", "--architecture", "resnet18", "--device", "cpu"]
    return CliRunner().invoke(
        main, ["readout", task, *names, "--data", str(data), *own, *arguments]
    )


def test_the_same_command_twice_gives_the_same_numbers(home: Path, squares: Path):
    result = run("detection", squares, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert next(iter(found["scores"])) == "AP"
    assert set(found["details"]["by_class"]["AP"]) == {"red", "blue"}
    assert found["data"]["train"] == 4
    assert "s a step" in result.stderr
    (folder,) = (home / "readout").iterdir()
    assert read_image(folder / "pictures" / "000_1.png").shape == (320, 806, 3)
    assert (
        len(json.loads((folder / "detections.json").read_text())) == found["details"]["detections"]
    )
    again = json.loads(run("detection", squares, "--json", "--out", str(home / "again")).stdout)
    assert again["scores"] == found["scores"]
    assert again["details"]["losses"] == found["details"]["losses"]
    assert again["encoder"]["weights"] == found["encoder"]["weights"]


@pytest.mark.parametrize(("find", "first"), [("masks", "mask_AP"), ("keypoints", "keypoint_AP")])
def test_instances_score_masks_or_keypoints_first(squares: Path, find: str, first: str):
    result = run("instances", squares, "--json", "--set", f"find={find}")
    assert result.exit_code == 0, result.output
    scores = json.loads(result.stdout)["scores"]
    assert next(iter(scores)) == first
    assert "box_AP" in scores


def test_bad_input_is_one_line_and_leaves_nothing(home: Path, squares: Path, tmp_path: Path):
    for arguments, problem in (
        (["--stride", "8"], "needs an encoder of stride 32, not 8"),
        (["--set", 'classes=["green"]'], "no class 'green'; it has red, blue"),
        (["--protocol", "cacl"], "no protocol 'cacl' here; known are default, flowe, flowe-heavy"),
        (["--set", "images=0"], "images = 0"),
        (["--set", "test=other.json"], "other.json: no such annotation file"),
    ):
        result = run("detection", squares, *arguments)
        assert result.exit_code == 2, result.output
        assert problem in result.stderr
        assert len(result.stderr.strip().splitlines()) == 1
    nowhere = run("instances", tmp_path / "nowhere")
    assert nowhere.exit_code == 2
    assert "it is no folder, nor one of coco, voc, bdd100k, cityscapes" in nowhere.stderr
    assert not home.exists()


def test_objects_exchanged_at_random_are_for_boxes(squares: Path):
    result = run("instances", squares, "--set", "permuted=true")
    assert "permuted is for boxes alone" in result.stderr


@pytest.mark.parametrize("task", ["detection", "instances"])
@pytest.mark.parametrize("quick", [False, True])
def test_every_protocol_is_settings_that_exist(task: str, quick: bool):
    kind = READOUTS[task]
    for name, values in kind.protocols.items():
        chosen = {"encoder": "e", "data": "d", "protocol": name, **values}
        settings = load(kind.Settings, values=chosen | (dict(kind.quick) if quick else {}))
        assert settings.protocol == name
        assert max(settings.schedule.drops, default=0) < 1


def test_the_papers_numbers_are_theirs():
    flowe, moco, cities = DETECTION["flowe"], DETECTION["moco"], INSTANCES["flowe"]
    assert (flowe["epochs"], flowe["batch_size"], flowe["schedule.learning_rate"]) == (12, 16, 0.02)
    assert [round(12 * share) for share in flowe["schedule.drops"]] == [8, 11]
    assert (cities["epochs"], cities["batch_size"], cities["schedule.learning_rate"]) == (
        64,
        8,
        0.01,
    )
    assert [round(64 * share) for share in cities["schedule.drops"]] == [56]
    for frozen in (flowe, cities):
        assert frozen["detector.frozen"]
        assert frozen["detector.kind"] == "c4"
    assert (moco["loop.steps"], moco["schedule.learning_rate"], moco["batch_size"]) == (
        24000,
        0.02,
        16,
    )
    assert [round(24000 * share) for share in moco["schedule.drops"]] == [18000, 22000]
    assert moco["detector.kind"] == "c4"
    assert not moco["detector.frozen"]
    for name in ("moco", "multisiam"):
        assert INSTANCES[name]["detector.kind"] == "fpn"
        assert INSTANCES[name]["loop.steps"] == 24000


@pytest.mark.slow
def test_an_encoder_of_stride_8_is_rebuilt_at_32(squares: Path):
    save("dense", build("resnet18", 8), {})
    result = run("detection", squares, "--encoder", "dense", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["encoder"]["stride"] == 32


@pytest.mark.slow
@pytest.mark.parametrize("task", ["detection", "instances"])
def test_every_protocol_has_its_detector(task: str):
    kind = READOUTS[task]
    for name, values in kind.protocols.items():
        chosen = {"encoder": "e", "data": "d", "protocol": name, **values}
        settings = load(kind.Settings, values=chosen)
        wanted = kind.what(settings)
        detector = new_detector(build("resnet18", 32), settings.detector, 2, wanted)
        encoder, new = trained(detector)
        assert bool(encoder) != settings.detector.frozen
        assert new
