import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from autoflow.cli import main
from autoflow.gallery import EXHIBITS, STRENGTHS
from autoflow.hyperparameters import Hyperparameters
from selfflow.io import read_image
from selfflow.runs.config import to_toml

TINY = [
    *("--set", "training.optimisation.crop=[32,32]"),
    *("--set", "training.optimisation.batch_size=1"),
    *("--set", "training.optimisation.iterations=1"),
    *("--set", "training.head_start.matching_steps=0"),
]


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFFLOW_HOME", str(tmp_path / "home"))


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(each) for each in arguments])


def refused(*arguments: object) -> str:
    """Return the one line that a command prints when it refuses."""
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert "Usage" not in result.stderr
    line = result.stderr.strip().splitlines()[-1]
    assert line.startswith("Error: ")
    assert "Traceback" not in result.stderr
    return line


def test_render_writes_a_set_and_says_so(tmp_path: Path) -> None:
    out = tmp_path / "set"
    result = run("render", "--count", 2, "--size", "32x48", "--out", out, "--json")
    assert json.loads(result.stdout) == {"samples": 2, "rendered_now": 2, "folder": str(out)}
    assert read_image(out / "FlyingChairs" / "data" / "00001_img1.ppm").shape == (32, 48, 3)


def test_render_takes_changes_of_single_values(tmp_path: Path) -> None:
    for name, changes in (("a", []), ("b", ["--set", "effects.fog=1"])):
        run("render", "--count", 1, "--size", "32x32", "--out", tmp_path / name, *changes)
    images = [tmp_path / n / "FlyingChairs" / "data" / "00001_img1.ppm" for n in "ab"]
    assert images[0].read_bytes() != images[1].read_bytes()


@pytest.mark.slow
def test_preview_and_gallery_write_pictures(tmp_path: Path) -> None:
    sheet, gallery = tmp_path / "sheet.png", tmp_path / "gallery.png"
    assert run("preview", "--count", 1, "--size", "32x48", "--out", sheet).exit_code == 0
    assert run("preview", "--gallery", "--size", "32x48", "--out", gallery).exit_code == 0
    assert read_image(sheet).shape[0] > 32
    height, width, _ = read_image(gallery).shape
    assert height > len(EXHIBITS) * 32
    assert width > len(STRENGTHS) * 48


def test_train_stores_a_network(tmp_path: Path) -> None:
    result = run("train", *TINY, "--steps", 1, "--name", "mine", "--json", "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["model"] == "mine"
    assert (tmp_path / "home" / "models" / "mine.safetensors").exists()


def test_dry_run_shows_what_would_be_done_and_writes_nothing(tmp_path: Path) -> None:
    shared = ["--workers", 2, "--strategy", "random", "--budget", "2h"]
    result = run("search", *TINY, "--trials", 3, *shared, "--device", "cpu", "--dry-run")
    assert result.exit_code == 0, result.output
    for said in ("trials = 3", "workers = 2", 'strategy = "random"', "budget = 7200.0"):
        assert said in result.stdout
    for said in ("random over", "2 workers", "Estimate: about", "at most 2h 00m", "3 trials"):
        assert said in result.stderr
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    ("command", "changed"),
    [
        (["preview", "--count", 2], "2 samples at 224x288"),
        (["preview", "--gallery"], "Each shape and effect"),
        (["render", "--count", 2], "2 pairs of 448x576"),
    ],
)
def test_dry_runs_of_pictures_write_none(
    tmp_path: Path, command: list[object], changed: str
) -> None:
    out = tmp_path / "out.png"
    result = run(*command, "--out", out, "--set", "effects.fog=0.9", "--dry-run")
    assert result.exit_code == 0, result.output
    assert changed in result.stderr
    assert "fog = 0.9" in result.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", ["0x0", "448", "0x32", "axb", "-3x4"])
def test_a_size_that_is_none_is_refused(tmp_path: Path, size: str) -> None:
    assert size in refused("render", "--size", size, "--out", tmp_path / "set")
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[effects]\nfogg = 0.1\n", "effects.fogg"),
        ("[layers]\ncount = [5, 2]\n", "turned round"),
        ("[effects]\nfog = 2.0\n", "effects.fog"),
        ("[effects\n", "not valid TOML"),
    ],
)
@pytest.mark.parametrize("command", ["render", "preview", "train"])
def test_a_bad_hyperparameter_file_is_named(
    tmp_path: Path, text: str, named: str, command: str
) -> None:
    file, out = tmp_path / "set.toml", tmp_path / "out.png"
    file.write_text(text)
    line = refused(command, "--hyperparameters", file, "--out", out)
    assert "set.toml" in line
    assert named in line
    assert not out.exists()


def test_a_missing_file_and_an_unknown_key_are_named(tmp_path: Path) -> None:
    missing = tmp_path / "missing.toml"
    assert "missing.toml" in refused("preview", "--hyperparameters", missing, "--out", "x.png")
    changed = refused("render", "--set", "effects.fogg=1", "--out", tmp_path / "set")
    assert "effects.fogg" in changed
    assert "trails" in refused("search", "--set", "trails=3")


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    assert str(file) in refused("render", "--size", "32x32", "--count", 1, "--out", file / "set")
    assert str(file) in refused("preview", "--size", "32x32", "--out", file / "sheet.png")
    assert "x.txt" in refused("preview", "--out", tmp_path / "x.txt")
    assert list(tmp_path.iterdir()) == [file]


def test_targets_and_metrics_that_do_not_exist_are_refused(tmp_path: Path) -> None:
    assert "no target nowhere" in refused("search", "--target", "nowhere", "--device", "cpu")
    assert "davis" in refused("search", "--target", "davis", "--data-root", tmp_path)
    assert "nothing" in refused("train", "--init", "nothing", "--device", "cpu")
    assert str(tmp_path) in refused("report", tmp_path)
    assert not (tmp_path / "home").exists()


def test_a_hyperparameter_file_is_what_the_default_prints(tmp_path: Path) -> None:
    file = tmp_path / "set.toml"
    file.write_text(to_toml(Hyperparameters()))
    for name, source in (("a", "default"), ("b", file)):
        run("render", "--hyperparameters", source, "--count", 1, "--size", "32x32",
            "--out", tmp_path / name)  # fmt: skip
    images = [tmp_path / n / "FlyingChairs" / "data" / "00001_img1.ppm" for n in "ab"]
    assert images[0].read_bytes() == images[1].read_bytes()
