"""What a person gets: results.json, tables as csv, a picture, and the tables for the README."""

import csv
import io
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from benchmarks.evidence.analysis import (
    Row,
    comparison_table,
    correlation_table,
    cost_table,
    missing,
    noise_table,
)
from benchmarks.evidence.markdown import markdown
from benchmarks.evidence.outcomes import read_outcomes
from benchmarks.evidence.picture import write_picture
from benchmarks.evidence.recipe import Recipe
from selfflow.runs.errors import UserError
from selfflow.runs.run import atomic_write, to_json, write_text

PICTURE = "evidence.png"
SHOWN = "benchmarks/evidence/evidence.png"  # the README's copy of it
_MARKED = re.compile(r"(<!-- evidence -->\n).*?(<!-- end of evidence -->)", re.DOTALL)


def write_report(recipe: Recipe, path: Path) -> str:
    """Write all files of the report into a run folder and return the tables as markdown."""
    outcomes = read_outcomes(path)
    if not outcomes.every:
        raise UserError(f"{path}: nothing is measured yet")
    tables = {
        "noise": noise_table(recipe, outcomes),
        "correlation": correlation_table(recipe, outcomes),
        "comparison": comparison_table(recipe, outcomes),
        "cost": cost_table(recipe, outcomes),
    }
    for name, rows in tables.items():
        write_text(path / f"{name}.csv", to_csv(rows))
    left = missing(recipe, outcomes)
    results = {
        **tables,
        "missing": left,
        "failed": outcomes.failed,
        "seconds": outcomes.seconds,
    }
    write_text(path / "results.json", to_json(results) + "\n")
    write_picture(path / PICTURE, recipe, outcomes, tables)
    text = markdown(recipe, tables, left, outcomes)
    write_text(path / "evidence.md", text)
    return text


def to_csv(rows: Sequence[Row]) -> str:
    """Return rows as csv, with a column for each key of any of them."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def paste(path: Path, text: str, readme: Path) -> None:
    """Put the tables between the marks in a README, and the picture where it shows it.

    Args:
        path: the run folder.
        text: the tables as markdown.
        readme: a file with the lines `<!-- evidence -->` and `<!-- end of evidence -->`.
    """
    content = readme.read_text(encoding="utf-8")
    if not _MARKED.search(content):
        raise UserError(f"{readme}: has no lines <!-- evidence --> and <!-- end of evidence -->")
    shown = f"{text}\n![Evidence]({SHOWN})\n"
    write_text(readme, _MARKED.sub(lambda found: found[1] + shown + found[2], content))
    with atomic_write(readme.parent / SHOWN) as temporary:
        shutil.copyfile(path / PICTURE, temporary)
