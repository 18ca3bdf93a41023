"""The methods side by side, on tiny networks and a tiny drive in CamVid's layout."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result

from benchmarks import methods
from selfflow.io import write_image

TINY = (
    "frames.batch_size=2",
    "views.height=32",
    "views.width=32",
    "encoder.architecture=timm/test_resnet",
    "encoder.stride=8",
    "heads.hidden=8",
    "heads.out=8",
    "optimizer.warmup=1",
    "loop.steps=4",
    "loop.log_every=2",
    "loop.pictures_every=0",
)
READ = (*methods.READOUT[:3], "output_stride=8", "loop.steps=2", "pictures=0", "cache.keep=false")


@pytest.fixture
def drive(tmp_path: Path) -> Path:
    """Frames in which a texture moves, whose upper half is sky and whose lower half is road."""
    small = np.random.default_rng(0).integers(0, 256, (10, 12, 3), np.uint8)
    picture = cv2.resize(small, (64, 48), interpolation=cv2.INTER_CUBIC)
    labels = np.zeros((48, 64), np.uint8)
    labels[24:] = 3
    for part in ("train", "val"):
        for number in range(8):
            name = f"0001TP_{number:06d}.png"
            for folder in (part, f"{part}annot"):
                (tmp_path / "drive" / folder).mkdir(parents=True, exist_ok=True)
            write_image(tmp_path / "drive" / part / name, np.roll(picture, 2 * number, axis=1))
            cv2.imwrite(str(tmp_path / "drive" / f"{part}annot" / name), labels)
    return tmp_path / "drive"


def compare(drive: Path, *arguments: str) -> Result:
    sets = [part for value in TINY for part in ("--set", value)]
    reads = [part for value in READ for part in ("--readout", value)]
    where = ["--target", str(drive), "--out", str(drive.parent / "out")]
    chosen = [*where, *sets, *reads, *arguments]
    return CliRunner().invoke(methods.main, chosen, catch_exceptions=False)


@pytest.mark.slow
def test_methods_are_trained_and_read_out_once(drive: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SELFFLOW_HOME", str(drive.parent / "home"))
    arguments = ("--method", "random", "--method", "byol", "--seeds", "2")
    first = compare(drive, *arguments)
    assert first.exit_code == 0, first.output
    found = json.loads((drive.parent / "out" / "results.json").read_text())
    assert [(row["method"], row["seed"]) for row in found["rows"]] == [
        ("random", 0), ("byol", 0), ("random", 1), ("byol", 1),
    ]  # fmt: skip
    for row in found["rows"]:
        assert 0 <= row["low"] <= row["mIoU"] <= row["high"] <= 100
    byol = found["rows"][1]
    assert (byol["steps"], byol["batch"]) == (4, 2)
    assert 0 < byol["core minutes"] < 5
    assert byol["loss highest"] >= max(byol["loss first"], byol["loss last"])
    assert [each["method"] for each in found["seeds"]] == ["random", "byol"]
    assert "byol: " in (drive.parent / "out" / "table.md").read_text()

    def no_more(*arguments: object, **named: object) -> None:
        raise AssertionError("it was there already")

    monkeypatch.setattr(methods, "run", no_more)
    assert compare(drive, *arguments).exit_code == 0


def test_an_unknown_method_is_said(tmp_path: Path):
    result = CliRunner().invoke(methods.main, ["--target", "x", "--method", "dino"])
    assert result.exit_code == 2
    assert "no method dino" in result.output


def test_the_table_has_a_line_for_each_and_the_deviation_over_seeds():
    rows = [{"method": "byol", "seed": n, "mIoU": value} for n, value in enumerate((30, 32, 34))]
    text = methods.markdown([*rows, {"method": "random", "seed": 0, "mIoU": 20.0}])
    assert text.count("| byol |") == 3
    assert "| random | 0 | 20.0 | –" in text
    assert "byol: 32.0 ± 2.0 (standard deviation) over 3 seeds" in text
    assert "random:" not in text
