import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from representation.cli import main

Read = Callable[..., Result]
ONE_RATE = ("--set", "training.learning_rates=[0.1]")
SHORT = ("--set", "loop.steps=2", "--set", "parts.short_side=32")


@pytest.fixture
def readout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Read:
    """Runs `representation readout segmentation` with a random encoder in an empty folder."""
    monkeypatch.setenv("SELFFLOW_HOME", str(tmp_path / "home"))

    def run(data: Path, *options: str) -> Result:
        call = ["readout", "segmentation", "--encoder", "random", "--architecture", "resnet18"]
        small = ["loop.steps=40", "training.batch_size=3", "training.pixels=256", "pictures=2"]
        sets = [text for each in small for text in ("--set", each)]
        return CliRunner().invoke(
            main, [*call, "--data", str(data), "--device", "cpu", *sets, *options]
        )

    return run


@pytest.fixture
def data(tmp_path: Path, make_folder: Callable[..., Path]) -> Path:
    return make_folder(tmp_path / "data", size=(64, 64))


def scores(result: Result) -> dict:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_a_probe_separates_what_is_separable_twice_the_same(readout: Read, data: Path) -> None:
    once = scores(readout(data, "--json", "--out", str(data / "once")))
    assert once["scores"]["miou"] > 0.85  # stride 8 blurs the border between the two halves
    assert once["scores"]["pixel_accuracy"] > 0.9
    assert list(once["scores"]) == ["miou", "mean_accuracy", "pixel_accuracy"]
    assert once["data"]["classes"] == ["0", "1", "2"]
    assert len(once["details"]["tuning"]) == 5
    assert once["details"]["interval"][0] <= once["scores"]["miou"]
    assert once["details"]["interval"][1] >= once["scores"]["miou"]
    twice = scores(readout(data, "--json", "--out", str(data / "twice")))
    for key in ("scores", "details"):
        assert once[key] == twice[key]
    pictures = sorted((data / "once" / "pictures").iterdir())
    assert [path.name for path in pictures] == ["val_images_000.png", "val_images_005.png"]
    assert Image.open(pictures[0]).width == 3 * 64


def test_labels_that_belong_to_other_images_are_not_read_out(readout: Read, data: Path) -> None:
    # Of a permuted training set nothing can be learned that holds for the test set.
    labels = sorted((data / "train" / "labels").iterdir())
    contents = [path.read_bytes() for path in labels]
    for path, other in zip(labels, contents[1:] + contents[:1], strict=True):
        path.write_bytes(other)
    found = scores(readout(data, "--json", *ONE_RATE))
    assert found["scores"]["miou"] < 0.4


def test_predictions_are_scored_as_they_are_written_without_a_class_that_is_nowhere(
    readout: Read, data: Path
) -> None:
    (data / "classes.txt").write_text("red\ngreen\nblue\nunicorn\n")
    out = data / "out"
    found = scores(
        readout(data, "--json", "--out", str(out), "--set", "predictions=true", *ONE_RATE)
    )
    hits, unions = np.zeros(3), np.zeros(3)
    for path in (out / "predictions").iterdir():
        predicted = np.array(Image.open(path))
        truth = np.array(Image.open(data / "val" / "labels" / path.name[-7:]))
        for number in range(3):
            hits[number] += ((predicted == number) & (truth == number)).sum()
            unions[number] += ((predicted == number) | (truth == number)).sum()
    assert found["scores"]["miou"] == pytest.approx((hits / unions).mean())
    assert found["details"]["tuning"] == {}
    assert found["details"]["absent"] == ["unicorn"]
    assert found["details"]["iou"]["unicorn"] is None


def test_quick_says_so_and_a_share_of_labels_is_counted(readout: Read, data: Path) -> None:
    found = scores(
        readout(data, "--quick", "--json", "--set", "parts.label_share=50", *ONE_RATE, *SHORT)
    )
    assert found["quick"] is True
    assert found["data"]["train"] == 5
    assert found["settings"]["parts.most"] == 32


def test_the_first_half_of_a_part_is_trained_on_and_the_second_tested(
    readout: Read, data: Path
) -> None:
    halves = ["--set", "parts.train=val:0-50%", "--set", "parts.test=val:50-100%"]
    found = scores(readout(data, "--json", *SHORT, *ONE_RATE, *halves))
    assert (found["data"]["train"], found["data"]["test"]) == (3, 3)
    with_overlap = readout(data, "--set", "parts.train=val", "--out", str(data / "other"))
    assert with_overlap.exit_code == 2
    assert "are trained on" in with_overlap.stderr


@pytest.mark.parametrize(
    "protocol",
    [
        "flowe-heavy",
        "multisiam",
        *(
            pytest.param(each, marks=pytest.mark.slow)
            for each in ("cacl", "cacl-finetune", "vader")
        ),
    ],
)
def test_protocols_run(readout: Read, data: Path, protocol: str) -> None:
    small = {
        "loop.steps": 1,
        "training.epochs": "",
        "training.pixels": 16,
        "parts.most": 2,
        "bootstrap": 0,
        "pictures": 0,
    }
    if protocol not in ("vader", "cacl"):
        small |= {"augmentation.height": 32, "augmentation.width": 32}
    if protocol == "flowe-heavy":
        small["augmentation.short_side"] = "[32, 48]"
    sets = [text for key, value in small.items() for text in ("--set", f"{key}={value}")]
    found = scores(readout(data, "--json", "--protocol", protocol, *sets))
    stride = {"vader": 4, "multisiam": 16}.get(protocol, 8)
    assert found["encoder"]["stride"] == stride
    head = {"flowe-heavy": "deeplabv3", "multisiam": "fcn16s"}.get(protocol, "linear")
    assert found["settings"]["head.kind"] == head


def bad_label(data: Path) -> None:
    Image.fromarray(np.full((64, 64), 7, np.uint8)).save(data / "train" / "labels" / "001.png")
    (data / "classes.txt").write_text("red\ngreen\nblue\n")


def no_label(data: Path) -> None:
    (data / "val" / "labels" / "002.png").unlink()


def other_size(data: Path) -> None:
    Image.fromarray(np.zeros((64, 32), np.uint8)).save(data / "val" / "labels" / "002.png")


def no_images(data: Path) -> None:
    for part in ("train", "val"):
        for path in (data / part / "images").iterdir():
            path.unlink()


def nothing_known(data: Path) -> None:
    for path in (data / "val" / "labels").iterdir():
        Image.fromarray(np.full((64, 64), 255, np.uint8)).save(path)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (bad_label, "holds 7, but there are 3 classes"),
        (no_label, "1 of 6 images have no label map"),
        (other_size, "002.png is 32x64"),
        (no_images, "no images with label maps"),
        (nothing_known, "no pixel of the images to test on has a label"),
    ],
)
def test_bad_data_is_one_clear_line(readout: Read, data: Path, spoil, message: str) -> None:
    spoil(data)
    result = readout(data, *SHORT, *ONE_RATE)
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not (data.parent / "home" / "readout").exists()


def test_settings_that_do_not_go_together_are_errors(readout: Read, data: Path) -> None:
    for sets, message in (
        (["training.finetune=true"], "there is one of training.learning_rates"),
        (["head.kind=deeplabv3", "training.batch_size=1"], "at least 2"),
        (["window.height=64"], "a height and a width"),
    ):
        result = readout(data, *[text for each in sets for text in ("--set", each)])
        assert result.exit_code == 2
        assert message in result.stderr
