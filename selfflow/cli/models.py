"""`selfflow models`."""

import click
from rich import box
from rich.table import Table

from selfflow.cli.terminal import output
from selfflow.models import known_models
from selfflow.runs.cli import json_option, print_result
from selfflow.runs.store import store, stored_models


@click.command()
@json_option
def models(as_json: bool) -> None:
    """List the models that have a name: those of the store, those shipped and the built-in."""
    known = known_models()
    if as_json:
        print_result(known, as_json=True)
        return
    table = Table(title=f"Flow models (store: {store()})", box=box.SIMPLE_HEAD)
    columns = ("architecture", "target", "made by", "steps")
    table.add_column("name", no_wrap=True)
    for column in columns:  # the whole command that made a model is in the JSON
        table.add_column(column, no_wrap=True, overflow="ellipsis", max_width=32)
    named = stored_models()
    for name in sorted(known, key=lambda name: name not in named):
        values = (known[name].get(column.replace(" ", "_")) for column in columns)
        table.add_row(name, *("" if value is None else str(value) for value in values))
    output().print(table)
