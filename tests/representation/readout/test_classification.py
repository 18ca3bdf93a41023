"""Classification from the command line, on images that are told apart by their stripes."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from representation.cli import main
from representation.cli.readout import run_name
from representation.readout.class_folders import ClassFolders, Labelled
from representation.readout.classification import (
    Classification,
    ClassificationSettings,
    accuracy,
    digest,
    standardised,
    tune,
)
from selfflow.io import write_image


@pytest.fixture(scope="module")
def stripes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of images with horizontal and vertical stripes."""
    root = tmp_path_factory.mktemp("data") / "stripes"
    random = np.random.default_rng(0)
    for name, axis in (("rows", 0), ("columns", 1)):
        for number in range(10):
            wave = np.indices((40, 44))[axis] + random.integers(8)
            image = (wave[..., None] % 8 < 4) * random.integers(100, 255, 3)
            (root / name).mkdir(parents=True, exist_ok=True)
            write_image(root / name / f"{number}.png", image.astype(np.uint8))
    return root


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SELFFLOW_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def run(*arguments: str) -> Result:
    tiny = ["--encoder", "random", "--architecture", "resnet18", "--set", "short_side=32"]
    tiny += ["--set", "crop=32", "--device", "cpu"]
    return CliRunner().invoke(main, ["readout", "classification", *tiny, *arguments])


def test_stripes_are_told_apart_and_the_result_is_kept(home: Path, stripes: Path):
    result = run("--data", str(stripes), "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["scores"] == {"knn": 1.0, "linear": 1.0}
    assert found["data"]["classes"] == ["columns", "rows"]
    assert (found["data"]["train"], found["data"]["test"]) == (16, 4)
    assert found["protocol"] == "default"
    (folder,) = (home / "readout").iterdir()
    assert re.fullmatch(
        "classification_stripes_random-resnet18_default_seed0_[0-9a-f]{6}", folder.name
    )
    assert json.loads((folder / "result.json").read_text()) == found
    again = run("--data", str(stripes))
    assert "is complete" in again.stderr
    assert "knn" in again.stdout
    other = run("--data", str(stripes), "--json", "--out", str(home / "other"))
    assert json.loads(other.stdout)["scores"] == found["scores"]


def test_quick_and_protocol_change_what_is_not_given(stripes: Path):
    shown = run("--data", str(stripes), "--quick", "--protocol", "dino", "--dry-run")
    assert shown.exit_code == 0, shown.output
    assert 'protocol = "dino"' in shown.stdout
    assert "quick = true" in shown.stdout
    assert "crop = 32" in shown.stdout
    unknown = run("--data", str(stripes), "--protocol", "other")
    assert unknown.exit_code == 2
    assert "no protocol 'other' here; known are default, dino" in unknown.stderr


def test_bad_data_is_one_line_and_leaves_nothing(home: Path, tmp_path: Path):
    (tmp_path / "cat").mkdir()
    result = run("--data", str(tmp_path / "cat"))
    assert result.exit_code == 2
    assert "at least two folders" in result.stderr
    assert not home.exists()


def test_the_weight_decay_that_generalises_is_chosen():
    generator = torch.Generator().manual_seed(0)
    labels = (torch.rand(200, generator=generator) < 0.2).long()
    features = torch.randn(200, 5, generator=generator)
    features[:, 0] += 4.0 * labels
    train, _ = standardised(features, features)
    tried = tune(train, labels, 2, (0.01, 1e6), seed=0)  # the second leaves the larger class alone
    assert tried[0.01] > 0.9 > tried[1e6] > 0.6
    assert tune(train, labels, 2, (0.01, 1e6), seed=0) == tried


def test_features_are_standardised_by_what_is_learned_from():
    train, test = torch.rand(50, 3) * 7 + 2, torch.rand(9, 3)
    first, second = standardised(train, test)
    assert torch.allclose(first.mean(0), torch.zeros(3), atol=1e-5)
    assert torch.allclose(first.std(0, correction=0), torch.ones(3), atol=1e-5)
    assert torch.allclose(second * train.std(0, correction=0) + train.mean(0), test, atol=1e-5)


def test_a_folder_is_named_after_what_the_protocol_does_not_say():
    def name(**changes: object) -> str:
        settings = {"encoder": "a/flowe", "data": "x/stripes", **changes}
        return run_name("classification", ClassificationSettings(**settings), Classification)

    assert name() == "classification_stripes_a-flowe_default_seed0"
    assert name(seed=3, architecture="resnet18").endswith("_default_seed3")
    assert name(crop=32) != name(crop=48) != name()
    assert name(quick=True, short_side=128, crop=112).endswith("_default_quick_seed0")


def test_a_digest_tells_data_sets_apart():
    def data(*names: str) -> ClassFolders:
        images = Labelled(tuple(Path(name) for name in names), (0,) * len(names))
        return ClassFolders(("a", "b"), images, images)

    assert digest(data("a/x", "a/y")) == digest(data("b/x", "b/y")) != digest(data("a/x", "a/z"))


def test_accuracy_is_the_share_of_hits():
    assert accuracy(torch.tensor([1, 2, 3, 0]), torch.tensor([1, 2, 0, 0])) == 0.75
