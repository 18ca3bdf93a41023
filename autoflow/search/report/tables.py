"""The data behind a report: tables of plain rows, each a CSV file in the run folder."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from autoflow.search.results import TrialResult
from autoflow.search.statistics import RankCorrelation
from selfflow.runs.run import write_text

Row = dict[str, Any]
FOLDER = "tables"


def to_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows as CSV; columns in the order in which they first appear, None as nothing."""
    columns = dict.fromkeys(name for row in rows for name in row)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def write_tables(folder: Path, tables: Mapping[str, Sequence[Row]]) -> None:
    """Write each table that has rows as `tables/NAME.csv`."""
    for name, rows in tables.items():
        if rows:
            write_text(folder / FOLDER / f"{name}.csv", to_csv(rows))


def trial_rows(trials: Sequence[TrialResult]) -> list[Row]:
    """Return a row for each trial: where it comes from, its last measurement, its parameters."""
    return [
        {
            "trial": trial.number,
            "key": trial.key,
            "state": trial.state,
            "generation": trial.generation,
            "parent": trial.parent,
            **(trial.last.as_dict() if trial.last else {}),
            "seconds": round(trial.seconds, 2),
            "retries": trial.retries,
            "reason": trial.reason,
            **trial.parameters,
        }
        for trial in trials
    ]


def measurement_rows(trials: Sequence[TrialResult]) -> list[Row]:
    """Return a row for each measurement of each trial."""
    return [
        {
            "trial": trial.number,
            "state": trial.state,
            "parent": trial.parent,
            "generation": trial.generation,
            **measured.as_dict(),
        }
        for trial in trials
        for measured in trial.course
    ]


def correlation_row(found: RankCorrelation) -> Row:
    """Return a rank correlation as columns."""
    return {
        "trials": found.count,
        "rho": found.rho,
        "low": found.low,
        "high": found.high,
        "p": found.p,
    }
