import csv
from pathlib import Path

from studies import made_up_study

from autoflow.search.report.tables import measurement_rows, to_csv, trial_rows, write_tables


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(text.splitlines()))


def test_csv_has_every_column_that_any_row_has_and_quotes_what_needs_it() -> None:
    text = to_csv([{"a": 1, "b": None}, {"a": 2.5, "c": 'say "no", he said'}])
    assert read(text) == [
        {"a": "1", "b": "", "c": ""},
        {"a": "2.5", "b": "", "c": 'say "no", he said'},
    ]


def test_a_trials_row_holds_its_terms_and_parameters() -> None:
    trials = made_up_study(9)
    rows = read(to_csv(trial_rows(trials)))
    assert [int(row["trial"]) for row in rows] == list(range(9))
    assert float(rows[0]["omega"]) == trials[0].omega
    assert float(rows[3]["effects.fog"]) == trials[3].parameters["effects.fog"]
    assert rows[7]["state"] == "failed"
    assert rows[7]["reason"] == "Ω is not finite after 30 steps"


def test_there_is_a_row_for_each_measurement() -> None:
    trials = made_up_study(9)
    rows = measurement_rows(trials)
    assert len(rows) == sum(len(trial.course) for trial in trials)
    assert rows[1]["step"] == 30
    assert rows[1]["aepe"] == trials[0].course[1].aepe


def test_tables_are_files_under_their_names_and_empty_ones_are_none(tmp_path: Path) -> None:
    write_tables(tmp_path, {"course": [{"trial": 0}], "failures": []})
    assert [path.name for path in (tmp_path / "tables").iterdir()] == ["course.csv"]
    assert (tmp_path / "tables" / "course.csv").read_text() == "trial\n0\n"
