"""`selfflow predict` as a person uses it."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner, Result

from selfflow.cli import main


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, films: SimpleNamespace) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SELFFLOW_HOME", "home")
    films.write_frames(tmp_path / "film", films.film(0, 3, 64, 72) + films.film(1, 2, 64, 72))
    return tmp_path


def call(*arguments: str, expect: int = 0) -> Result:
    result = CliRunner().invoke(main, ["predict", *arguments])
    assert result.exit_code == expect, result.output
    return result


def test_without_a_model_the_shipped_one_is_taken_and_named(place: Path) -> None:
    result = call("film", "--out", "out", "--iterations", "1")
    assert "s-af-small on 4 pairs of film" in result.stderr
    assert json.loads((place / "out" / "prediction.json").read_text())["model"] == "s-af-small"
    assert (place / "out" / "00003.flo").exists()
    assert "cuts" in result.stdout


def test_quality_ends_with_figures_and_the_worst_frames(place: Path) -> None:
    result = call("film", "--model", "dis", "--out", "out", "--quality", "--format", "none")
    lines = {line.split("  ")[0]: line for line in result.stdout.splitlines()}
    assert "px forward-backward error" in lines["quality of film"]
    assert "% not visible" in lines["quality of film"]
    assert all(frame in lines["worst of film"] for frame in ("00000", "00001", "00003"))
    assert not list((place / "out").glob("*.flo"))
    again = json.loads(
        call("film", "--model", "dis", "--out", "out", "--quality", "--format", "none", "--json")
        .stdout
    )  # fmt: skip
    assert (again["written"], again["kept"], again["cuts"]) == (0, 3, 1)
    assert set(again["quality"]["film"]["worst"]) == {"00000", "00001", "00003"}


def test_a_film_and_masks(place: Path) -> None:
    arguments = ("film", "--model", "dis", "--out", "out", "--film", "--visibility", "--size", "48")
    call(*arguments)
    assert (place / "out" / "flow.mp4").exists()
    assert (place / "out" / "visible" / "00000.png").exists()
    assert not (place / "out" / "color").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["text.png", "--out", "out"], "text.png: not a video file"),
        (["text", "--out", "out"], "text/1.png: not an image"),
        (["film", "--out", "note.txt/out"], "note.txt"),
        (["film", "--out", "out", "--size", "0"], "size"),
        (["film", "--out", "out", "--model", "empty"], "empty is a folder without a network"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    place: Path, arguments: list[str], said: str
) -> None:
    (place / "empty").mkdir()
    (place / "text").mkdir()
    for path in ("text.png", "text/1.png", "text/2.png", "note.txt"):
        (place / path).write_text("dear")
    before = sorted(place.rglob("*"))
    if "--model" not in arguments:
        arguments = [*arguments, "--model", "zero"]
    result = call(*arguments, expect=2)
    assert said in result.stderr.strip().splitlines()[-1]
    assert sorted(place.rglob("*")) == before
