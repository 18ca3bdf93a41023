import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from representation.cli import main


@pytest.fixture
def data(tmp_path: Path, write_image) -> Path:
    """Bright is far: depth in mm is ten times the grey value, and one corner is not known."""
    for part, count in (("train", 8), ("test", 4)):
        for number in range(count):
            rng = np.random.default_rng(100 * len(part) + number)
            grey = np.full((48, 64), rng.integers(40, 250), np.uint8)
            depth = grey.astype(np.uint16) * 10
            depth[:8, :8] = 0
            image = np.repeat(grey[..., None], 3, 2)
            write_image(tmp_path / "data" / "images" / part / f"{number}.png", image)
            write_image(tmp_path / "data" / "depth" / part / f"{number}.png", depth)
    return tmp_path / "data"


def test_depth_that_can_be_seen_is_read_out_twice_the_same(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SELFFLOW_HOME", str(tmp_path / "home"))
    sets = ["loop.steps=150", "training.batch_size=4", "training.pixels=64", "pictures=1"]
    options = [text for each in [*sets, "predictions=true"] for text in ("--set", each)]
    call = ["readout", "depth", "--encoder", "random", "--architecture", "resnet18"]
    call += ["--data", str(data), "--device", "cpu", "--json", *options]
    results = []
    for name in ("once", "twice"):
        result = CliRunner().invoke(main, [*call, "--out", str(tmp_path / name)])
        assert result.exit_code == 0, result.output
        results.append(json.loads(result.stdout))
    once, twice = results
    assert once["scores"] == twice["scores"]
    # Depths are from 0.4 to 2.5 m: whoever reads nothing out is 0.6 m wrong.
    assert once["scores"]["rmse_image"] < 0.3
    assert once["scores"]["delta1"] > 0.7
    assert once["details"]["pixels_with_depth"] == 4 * (48 * 64 - 64)
    tuning = {float(rate): score for rate, score in once["details"]["tuning"].items()}
    assert once["details"]["learning_rate"] == min(tuning, key=lambda rate: tuning[rate])
    written = sorted((tmp_path / "once" / "predictions").iterdir())
    errors = []
    for path in written:
        truth = np.array(Image.open(data / "depth" / "test" / path.name[-5:])).astype(float)
        known = truth > 0
        errors.append((np.array(Image.open(path)) - truth)[known])
    roots = [np.sqrt(np.mean((error / 1000) ** 2)) for error in errors]
    assert once["scores"]["rmse_image"] == pytest.approx(np.mean(roots), abs=1e-3)
    assert len(list((tmp_path / "once" / "pictures").iterdir())) == 1
