"""What the commands share: paths on the command line, tables on standard output."""

import sys
from pathlib import Path

import click
from rich.console import Console

PATH = click.Path(path_type=Path)


def output() -> Console:
    """Return standard output for tables; where it is no terminal, it is wide enough for them."""
    return Console(width=None if sys.stdout.isatty() else 120)
