"""`representation readout propagation`, from files to files."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from click.testing import CliRunner, Result
from PIL import Image
from torch import Tensor

from representation.cli import main
from representation.encoder import Encoder
from representation.readout.propagation import task
from representation.readout.propagation.scores import contour_accuracy, region_similarity
from representation.readout.propagation.settings import PROTOCOLS

PATCH = 8


class Patches(Encoder):
    """Raw pixels of patches, less grey."""

    def __init__(self) -> None:
        super().__init__("patches", [3 * PATCH**2], [PATCH], alignment=1.0)

    def backbone_stages(self, images: Tensor) -> list[Tensor]:
        return [F.pixel_unshuffle(images * self.std + self.mean - 0.5, PATCH)]


def readout(*arguments: Any) -> Result:
    words = ["readout", "propagation", *map(str, arguments)]
    return CliRunner().invoke(main, words)


@pytest.fixture
def patches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task, "open_encoder", lambda *_, **__: Patches().eval())


def measured(root: Path, out: Path, *more: Any) -> dict[str, Any]:
    result = readout("--encoder", "random", "--data", root, "--out", out, "--json", *more)
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    assert json.loads((out / "result.json").read_text()) == found
    return found


@pytest.mark.usefixtures("patches")
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_film_that_moves_on_is_perfect_and_a_permuted_one_is_not(
    protocol: str, tmp_path: Path, davis: Callable[..., Path]
) -> None:
    # The frames' own size in all protocols, so that patches stay patches.
    size = ("--protocol", protocol, "--set", "side=")
    moving = measured(davis(tmp_path / "moving", binary=True, objects=1), tmp_path / "a", *size)
    assert moving["scores"]["J&F"] == moving["scores"]["J"] == moving["scores"]["F"] == 1.0
    still = moving["details"]["identity"]
    assert still["J"] < 0.6
    permuted = measured(davis(tmp_path / "permuted", permuted=True), tmp_path / "b", *size)
    assert permuted["scores"]["J"] < 0.6


@pytest.mark.usefixtures("patches")
def test_the_result_says_what_was_read_and_masks_are_written_for_the_official_tool(
    tmp_path: Path, davis: Callable[..., Path]
) -> None:
    root = davis(tmp_path / "data", names=("a", "b"), permuted=True)
    found = measured(root, tmp_path / "run")
    assert found["data"] == {
        "name": "davis",
        "folder": "data",
        "sequences_from": "all that have masks",
        "sequences": ["a", "b"],
        "objects": 4,
        "frames": 12,
    }
    js, fs = [], []
    for name in ("a", "b"):
        for number in (1, 2):
            pairs = []
            for index in range(6):
                path = tmp_path / "run/masks" / name / f"{index:05d}.png"
                with Image.open(path) as image:
                    assert image.mode == "P"
                    mask = np.array(image)
                truth = np.array(Image.open(root / "Annotations/480p" / name / path.name))
                if index == 0:
                    assert np.array_equal(mask, truth)
                pairs.append((mask == number, truth == number))
            js.append(np.mean([region_similarity(*pair) for pair in pairs[1:-1]]))
            fs.append(np.mean([contour_accuracy(*pair) for pair in pairs[1:-1]]))
            one = found["details"]["sequences"][name][str(number)]
            assert one["J"]["mean"] == pytest.approx(js[-1])
            assert one["F"]["mean"] == pytest.approx(fs[-1])
        with Image.open(tmp_path / "run/pictures" / f"{name}.png") as image:
            assert image.width == 4 * 320
    # Over objects, not sequences.
    assert found["scores"]["J"] == pytest.approx(np.mean(js))
    assert found["scores"]["F"] == pytest.approx(np.mean(fs))
    assert found["scores"]["J&F"] == pytest.approx((np.mean(js) + np.mean(fs)) / 2)


@pytest.mark.usefixtures("patches")
def test_a_stopped_run_keeps_the_sequences_that_are_done(
    tmp_path: Path, davis: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = davis(tmp_path / "data", names=("a", "b"), permuted=True)
    whole = measured(root, tmp_path / "whole")
    run = tmp_path / "run"
    done: list[str] = []
    evaluate = task.evaluate

    def interrupted(clip: Any, *arguments: Any) -> Any:
        if clip.name == "b" and done == ["a"]:
            raise KeyboardInterrupt
        done.append(clip.name)
        return evaluate(clip, *arguments)

    monkeypatch.setattr(task, "evaluate", interrupted)
    stopped = readout("--encoder", "random", "--data", root, "--out", run)
    assert stopped.exit_code == 130
    assert not (run / "result.json").exists()
    done[:] = ["again"]
    continued = measured(root, run)
    assert done == ["again", "b"]
    assert continued["scores"] == whole["scores"]


@pytest.mark.usefixtures("patches")
def test_sequences_of_other_weights_are_not_kept(
    tmp_path: Path, davis: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, run = davis(tmp_path / "data"), tmp_path / "run"
    measured(root, run)
    (run / "result.json").unlink()
    known = run / "sequences/a.json"
    before = json.loads(known.read_text())
    monkeypatch.setattr(task, "fingerprint", lambda _: "others")
    measured(root, run)
    assert json.loads(known.read_text()) == before | {"weights": "others"}


def test_masks_of_another_size_than_the_frames_are_followed_at_their_own(
    tmp_path: Path, davis: Callable[..., Path], patches: None
) -> None:
    root = davis(tmp_path / "data", objects=1)
    for path in (root / "Annotations/480p/a").iterdir():
        with Image.open(path) as image:
            larger = image.resize((192, 128), Image.Resampling.NEAREST)
        larger.save(path)
    found = measured(root, tmp_path / "run")
    assert found["scores"]["J"] == found["scores"]["F"] == 1.0
    with Image.open(tmp_path / "run/masks/a/00002.png") as image:
        assert image.size == (192, 128)


def test_a_resnet_runs_quickly_twice_the_same_and_leaves_out_its_last_stage(
    tmp_path: Path, davis: Callable[..., Path]
) -> None:
    root = davis(tmp_path / "data", frames=3, size=(32, 64), objects=1)
    quick = ("--quick", "--architecture", "resnet18", "--set", "side=32")
    found = measured(root, tmp_path / "a", *quick)
    assert found["quick"] is True
    assert found["details"]["features"] == {"channels": 256, "stride": 8}
    assert 0 <= found["scores"]["J&F"] <= 1
    again = measured(root, tmp_path / "b", *quick, "--set", "without_last_stage=true")
    assert again["scores"] == found["scores"]
    whole = ("--set", "without_last_stage=false", "--dry-run")
    shown = readout("--encoder", "random", "--data", root, *quick, *whole)
    assert "512 channels at stride 8" in shown.stderr


def test_protocols_have_their_papers_numbers() -> None:
    crw, dino, vader = (PROTOCOLS[name] for name in ("crw", "dino", "vader"))
    kept = ("previous", "neighbours", "radius", "window", "first_windowed", "temperature", "side")
    assert [crw[key] for key in kept] == [20, 10, 12, "circle", False, 0.05, None]
    assert [dino[key] for key in kept] == [7, 5, 12, "square", True, 0.1, 480]
    assert (vader["side"], vader["fit"], vader["previous"]) == (320, "square", 7)
    assert vader["temperature"] == pytest.approx(0.0441942)
    settings = task.PropagationSettings(encoder="random")
    assert {key: getattr(settings, key) for key in crw} == crw


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "{root}", "--protocol", "flowe"], "no protocol 'flowe'"),
        (["--data", "{root}/nothing"], "it is no folder, nor one of davis"),
        (["--data", "{root}/JPEGImages"], "there is no folder JPEGImages/480p"),
        (["--data", "{root}", "--set", 'sequences=["b"]'], "sequence b: there is no folder"),
        (["--data", "{root}", "--set", "temperature=0"], "temperature"),
        (["--data", "{root}", "--encoder", "nobody"], "no encoder 'nobody'"),
        (["--data", "{root}", "--set", "window=round"], "window"),
    ],
)
def test_bad_input_is_one_clear_line(
    arguments: list[str], message: str, tmp_path: Path, davis: Callable[..., Path]
) -> None:
    root = davis(tmp_path / "data", frames=3)
    words = [word.format(root=root) for word in arguments]
    if "--encoder" not in words:
        words += ["--encoder", "random", "--architecture", "resnet18"]
    result = readout(*words, "--out", tmp_path / "run")
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.output
    assert not (tmp_path / "run").exists()


def test_input_sizes() -> None:
    def size(given: tuple[int, int], **settings: Any) -> tuple[int, int]:
        chosen = {"fit": "short", "multiple": 1} | settings
        features = task.FrameFeatures(
            Patches(), antialias=False, without_last_stage=True, normalised=True, aligned=True,
            **chosen,
        )  # fmt: skip
        return features.input_size(given)

    assert size((480, 854), side=None) == (480, 854)
    assert size((480, 854), side=480, multiple=64) == (480, 832)
    assert size((854, 480), side=480, multiple=64) == (832, 480)
    assert size((240, 432), side=480, multiple=64) == (480, 832)
    assert size((480, 854), side=320, fit="square") == (320, 320)
    assert size((480, 854), side=240) == (240, 427)


def test_normalised_features_have_length_one(
    tmp_path: Path, davis: Callable[..., Path], patches: None
) -> None:
    root = davis(tmp_path / "data", frames=3)
    settings = task.PropagationSettings(encoder="random", data=str(root))
    for normalised in (True, False):
        changed = settings.model_copy(update={"normalised": normalised})
        readout = task.Propagation(changed, None)
        frames = task.ImageSequence("a", readout.clips[0].frames)
        features = readout.features(frames, 0)
        assert features.shape == (8, 12, 192)
        lengths = features.norm(dim=2)
        assert torch.allclose(lengths, torch.ones(8, 12)) == normalised
