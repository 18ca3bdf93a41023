"""`representation compare`."""

import sys
from pathlib import Path

import click
from rich.console import Console

from representation.readout.comparison.formats import TEXTS, as_plain, as_rich
from representation.readout.comparison.measured import find_results
from representation.readout.comparison.picture import SUFFIXES, draw
from representation.readout.comparison.table import compared
from selfflow.runs.cli import json_option
from selfflow.runs.errors import UserError
from selfflow.runs.progress import console
from selfflow.runs.run import to_json, write_text

KNOWN = (*TEXTS, *SUFFIXES)
WIDTH = 200  # characters of a table that is not printed on a terminal


@click.command("compare")
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--out",
    "outs",
    multiple=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help=f"Write it to a file, by its suffix {', '.join(KNOWN)}; repeatable.",
)
@click.option(
    "--scores",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    help="How many of a task's scores, the first ones.",
)
@json_option
def compare(runs: tuple[Path, ...], outs: tuple[Path, ...], scores: int, as_json: bool) -> None:
    """Put results of readouts into one table, beside the papers'.

    RUNS are results, folders of runs, or folders above them. Results that differ in seeds alone
    become one row, with mean and standard deviation. Papers' scores are shown where the setting is
    theirs: task, data, protocol and all numbers of it.
    """
    for out in outs:
        if out.suffix not in KNOWN:
            raise UserError(f"{out}: known are the suffixes {', '.join(KNOWN)}")
    results, left_out = find_results(runs)
    for note in left_out:
        console.print(note, markup=False, soft_wrap=True)
    comparison = compared(results, scores)
    for out in outs:
        if out.suffix in TEXTS:
            write_text(out, TEXTS[out.suffix](comparison))
        else:
            draw(comparison, out)
    if as_json:
        click.echo(to_json(as_plain(comparison)))
    else:
        width = None if sys.stdout.isatty() else WIDTH
        Console(highlight=False, width=width).print(as_rich(comparison))
