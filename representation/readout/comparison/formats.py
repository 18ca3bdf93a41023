"""A comparison as text for people, papers and programs."""

import csv
import io
from collections.abc import Mapping
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from representation.readout.comparison.table import Column, Comparison, Line
from selfflow.runs.run import to_json

ABOUT = ("encoder", "network", "trained on")
NOTE = "note"
_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
}


def as_rich(comparison: Comparison) -> Table:
    """Return the table as a terminal shows it; published rows are dim."""
    caption = Text("\n".join(comparison.notes)) if comparison.notes else None
    table = Table(
        box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), caption=caption, caption_justify="left"
    )
    for name in ABOUT:
        table.add_column(name)
    for column in comparison.columns:
        table.add_column(_heading(column, "\n"), justify="right", no_wrap=True)
    table.add_column(NOTE)
    for place, line in enumerate(comparison.lines):
        if line.published and place and not comparison.lines[place - 1].published:
            table.add_section()
        words = map(Text, _words(comparison, line))
        table.add_row(*words, style="dim" if line.published else None)
    return table


def as_markdown(comparison: Comparison) -> str:
    """Return the table for a README."""
    headings = [*ABOUT, *(_heading(column, "<br>") for column in comparison.columns), NOTE]
    rules = ["---"] * len(ABOUT) + ["---:"] * len(comparison.columns) + ["---"]
    rows = [headings, rules, *(_words(comparison, line) for line in comparison.lines)]
    lines = ["| " + " | ".join(_cell(word) for word in row) + " |" for row in rows]
    return "\n".join([*lines, "", *(f"- {note}" for note in comparison.notes)]).rstrip() + "\n"


def as_latex(comparison: Comparison) -> str:
    """Return the table for a paper; it needs the package booktabs."""
    columns = comparison.columns
    headings = [*ABOUT, *(f"{column.score} {column.unit}".strip() for column in columns), NOTE]
    # Of columns next to one another that share a place, one heading.
    spans: list[tuple[str, int]] = []
    for column in columns:
        if spans and spans[-1][0] == column.title:
            spans[-1] = (column.title, spans[-1][1] + 1)
        else:
            spans.append((column.title, 1))
    above = [rf"\multicolumn{{{count}}}{{c}}{{{latex(title)}}}" for title, count in spans]
    lines = [
        rf"% {note}" for note in comparison.notes
    ] + [
        rf"\begin{{tabular}}{{{'l' * len(ABOUT)}{'r' * len(columns)}l}}",
        r"\toprule",
        " & ".join([""] * len(ABOUT) + above) + r" & \\",
        " & ".join(map(latex, headings)) + r" \\",
        r"\midrule",
    ]  # fmt: skip
    for place, line in enumerate(comparison.lines):
        if line.published and place and not comparison.lines[place - 1].published:
            lines.append(r"\midrule")
        lines.append(" & ".join(map(latex, _words(comparison, line))) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def as_csv(comparison: Comparison) -> str:
    """Return a line for each cell: who, where, in which setting; mean, deviation, values."""
    output = io.StringIO()
    writer = csv.DictWriter(output, list(_records(comparison)[0]) if comparison.lines else [])
    writer.writeheader()
    writer.writerows(_records(comparison))
    return output.getvalue()


def as_plain(comparison: Comparison) -> dict[str, Any]:
    """Return the table for JSON: notes, and an object for each cell."""
    records = [
        {
            **record,
            "changed": dict(group.changed) if (group := line.groups.get(index)) else {},
            "seeds": list(group.seeds) if group else [],
            "values": list(line.cells[index].values),
            "files": list(group.paths) if group else [],
        }
        for record, (line, index) in zip(_records(comparison), _cells(comparison), strict=True)
    ]
    return {"cells": records, "notes": list(comparison.notes)}


def as_json(comparison: Comparison) -> str:
    """Return `as_plain` as JSON."""
    return to_json(as_plain(comparison)) + "\n"


TEXTS = {".csv": as_csv, ".tex": as_latex, ".md": as_markdown, ".json": as_json}


def latex(text: str) -> str:
    """Return text with everything escaped that LaTeX would take for something else."""
    return "".join(_LATEX.get(character, character) for character in text)


def _cells(comparison: Comparison) -> list[tuple[Line, int]]:
    return [(line, index) for line in comparison.lines for index in sorted(line.cells)]


def _records(comparison: Comparison) -> list[Mapping[str, Any]]:
    records: list[Mapping[str, Any]] = []
    for line, index in _cells(comparison):
        column, spread = comparison.columns[index], line.cells[index]
        records.append(
            {
                "encoder": line.name,
                "network": line.network,
                "trained_on": line.trained_on,
                "published": line.published,
                "note": line.note,
                "source": line.source,
                "task": column.place.task,
                "data": column.place.data,
                "protocol": column.place.protocol,
                "quick": column.place.quick,
                "place": column.title,
                "score": column.score,
                "unit": column.unit,
                "mean": spread.mean,
                "deviation": spread.deviation,
                "n": len(spread.values),
            }
        )
    return records


def _words(comparison: Comparison, line: Line) -> list[str]:
    cells = [
        column.shown(line.cells[index]) if index in line.cells else ""
        for index, column in enumerate(comparison.columns)
    ]
    return [line.name, line.network, line.trained_on, *cells, line.note]


def _heading(column: Column, end: str) -> str:
    return f"{column.title.replace(' ', end)}{end}{column.score} {column.unit}".rstrip()


def _cell(word: str) -> str:
    return word.replace("|", "\\|")
