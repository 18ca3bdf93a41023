"""The table and the picture, as files."""

import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from representation.cli import main
from representation.readout.comparison.formats import as_csv, as_latex, as_markdown, latex
from representation.readout.comparison.measured import find_results
from representation.readout.comparison.table import Comparison, compared, unit

Write = Callable[..., Path]
VALUES = (0.301, 0.325, 0.371)


@pytest.fixture
def several(tmp_path: Path, result_in: Write) -> Path:
    for seed, value in enumerate(VALUES):
        scores = {"J&F": value, "J": value, "F": value, "J_recall": value}
        result_in(tmp_path / f"r{seed}", seed=seed, scores=scores)
    result_in(tmp_path / "t", settings={"temperature": 0.1}, encoder={"name": "a_b & 100%"})
    result_in(
        tmp_path / "q", quick=True, encoder={"name": "flow/s-af", "architecture": "flow/s-af"}
    )
    return tmp_path


def table_of(folder: Path, scores: int = 3) -> Comparison:
    return compared(find_results([folder])[0], scores)


def test_rows_are_encoders_and_columns_scores_at_places(several: Path) -> None:
    comparison = table_of(several)
    titles = [(column.title, column.score, column.unit) for column in comparison.columns]
    place = "propagation davis2017 crw"
    names = ("J&F", "J", "F")
    assert titles == [(p, n, "%") for p in (f"{place} quick", place) for n in names]
    rows = {line.name: line for line in comparison.lines}
    assert list(rows) == ["flow/s-af", "random", "a_b & 100%", "CRW"]
    assert rows["random"].network == "resnet18 /8"
    assert rows["flow/s-af"].network == "/8"
    assert rows["random"].cells[3].values == pytest.approx([100 * value for value in VALUES])
    assert rows["a_b & 100%"].note == "temperature=0.1"
    assert rows["CRW"].published
    assert rows["CRW"].note == "published (1)"
    assert str(rows["CRW"].source).startswith("CRW (Jabri")
    assert f"(1) {rows['CRW'].source}" in comparison.notes
    assert rows["random"].source is None
    assert rows["CRW"].cells[3].values == (67.6,)
    assert not set(rows["CRW"].cells) & {0, 1, 2}  # not beside the quick one
    shown = comparison.columns[3].shown(rows["random"].cells[3])
    deviation = 100 * np.std(VALUES, ddof=1)
    assert shown == f"33.2 ± {deviation:.1f} (3)"
    assert any("scaled down" in note for note in comparison.notes)


def test_all_scores_if_asked_for(several: Path) -> None:
    assert "J_recall" in [column.score for column in table_of(several, 99).columns]


def test_a_setting_that_all_share_is_said_once(tmp_path: Path, result_in: Write) -> None:
    for seed in (0, 1):
        name = {"name": f"encoder{'ab'[seed]}"}
        result_in(tmp_path / str(seed), seed=seed, settings={"radius": 3.0}, encoder=name)
    comparison = table_of(tmp_path)
    assert [line.note for line in comparison.lines] == ["", ""]
    assert "propagation davis2017 crw: radius=3.0" in comparison.notes


def test_places_with_other_data_are_told_apart(tmp_path: Path, result_in: Write) -> None:
    result_in(tmp_path / "a", data={"name": "davis", "frames": 80})
    result_in(tmp_path / "b", data={"name": "davis", "frames": 20})
    comparison = table_of(tmp_path, 1)
    titles = [column.title for column in comparison.columns]
    assert titles == ["propagation davis crw #1", "propagation davis crw #2"]
    assert comparison.notes[0].endswith("#2 has other data than #1: frames 20, not 80")
    (line,) = comparison.lines
    assert sorted(line.cells) == [0, 1]


def test_encoders_of_one_name_are_told_apart(tmp_path: Path, result_in: Write) -> None:
    for steps in (100, 200):
        encoder = {"name": "flowe", "method": "flowe", "steps": steps, "target": "camvid"}
        encoder |= {"weights": f"after {steps}"}
        result_in(tmp_path / str(steps), encoder=encoder)
    lines = table_of(tmp_path).lines[:2]
    assert [line.name for line in lines] == ["flowe (steps=100)", "flowe (steps=200)"]
    assert [line.trained_on for line in lines] == ["camvid", "camvid"]


def test_units() -> None:
    assert unit("miou") == (100.0, "%")
    assert unit("rmse_pixel") == unit("mean_absolute") == (1.0, "m")
    assert unit("absrel") == (1.0, "")
    assert unit("delta1") == unit("mean_accuracy") == (100.0, "%")


def test_csv_reads_back(several: Path) -> None:
    comparison = table_of(several)
    records = list(csv.DictReader(io.StringIO(as_csv(comparison))))
    assert len(records) == sum(len(line.cells) for line in comparison.lines)
    (own,) = [each for each in records if (each["encoder"], each["score"]) == ("random", "J&F")]
    assert float(own["mean"]) == pytest.approx(100 * np.mean(VALUES))
    assert float(own["deviation"]) == pytest.approx(100 * np.std(VALUES, ddof=1))
    assert (own["n"], own["quick"], own["published"]) == ("3", "False", "False")
    (strange,) = {each["note"] for each in records if each["encoder"] == "a_b & 100%"}
    assert strange == "temperature=0.1"


def test_latex_escapes_what_it_would_take_for_something_else(several: Path) -> None:
    assert latex("a_b & 100% {x} ~^\\ #1 $") == (
        r"a\_b \& 100\% \{x\} \textasciitilde{}\textasciicircum{}\textbackslash{} \#1 \$"
    )
    text = as_latex(table_of(several))
    assert r"a\_b \& 100\% & resnet18 /8" in text
    assert r"33.2 $\pm$ 3.6 (3)" in text
    assert r"\multicolumn{3}{c}{propagation davis2017 crw quick}" in text
    body = text.partition(r"\toprule")[2].partition(r"\bottomrule")[0]
    rows = [row for row in body.split("\\\\\n") if "&" in row]
    columns = 4 + len(table_of(several).columns)
    for row in rows:
        spanned = sum(int(count) - 1 for count in re.findall(r"multicolumn\{(\d+)\}", row))
        assert len(re.findall(r"(?<!\\)&", row)) + 1 + spanned == columns
    assert not re.search(r"(?<!\\)[%#_]", body)


def test_markdown_has_a_cell_for_every_column(several: Path) -> None:
    lines = as_markdown(table_of(several)).splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert {line.count("|") for line in table} == {4 + 6 + 1}
    assert len(table) == 2 + 4


def compare(*arguments: Any) -> Result:
    return CliRunner().invoke(main, ["compare", *map(str, arguments)])


def test_the_command_writes_what_is_asked_for(several: Path, tmp_path: Path) -> None:
    names = ("t.csv", "t.tex", "t.md", "t.json", "p.png", "p.svg")
    files = [tmp_path / "out" / name for name in names]
    words = [word for file in files for word in ("--out", file)]
    result = compare(several, *words, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == json.loads(files[3].read_text())
    cells = json.loads(result.stdout)["cells"]
    (own,) = [each for each in cells if (each["encoder"], each["score"]) == ("random", "J")]
    assert own["seeds"] == [0, 1, 2]
    assert own["values"] == pytest.approx([100 * value for value in VALUES])
    assert [Path(file).parent.name for file in own["files"]] == ["r0", "r1", "r2"]
    with Image.open(files[4]) as picture:
        assert min(picture.size) > 150
        assert len(picture.convert("RGB").getcolors(10**6)) > 20
    assert "propagation davis2017 crw" in files[5].read_text() or "<path" in files[5].read_text()
    shown = compare(several)
    assert "33.2 ± 3.6 (3)" in shown.stdout
    assert "(1) CRW (Jabri" in shown.stdout


def test_bad_input_is_one_clear_line(several: Path, tmp_path: Path) -> None:
    for arguments, message in (
        ((tmp_path / "nothing",), "holds no result"),
        ((several, "--out", tmp_path / "t.xls"), "known are the suffixes .csv, .tex"),
    ):
        result = compare(*arguments)
        assert result.exit_code == 2
        assert message in result.stderr
        assert "Traceback" not in result.output
    assert not (tmp_path / "t.xls").exists()
