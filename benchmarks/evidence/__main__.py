"""`python -m benchmarks.evidence`, which is `make evidence`."""

from functools import partial
from pathlib import Path

import click

from benchmarks.evidence.experiment import run_experiment, stored_recipe, within_reach
from benchmarks.evidence.recipe import RECIPES, recipe
from benchmarks.evidence.report import paste, write_report
from selfflow.runs.cli import Group
from selfflow.runs.devices import pick_device
from selfflow.runs.errors import UserError
from selfflow.runs.progress import console, parse_duration

_FOLDER = click.Path(file_okay=False, path_type=Path)


class _Budget(click.ParamType):
    name = "duration"

    def convert(self, value: str, param: object, ctx: object) -> float:
        try:
            return parse_duration(value)
        except ValueError as error:
            raise UserError(f"--budget: {error}") from None


@click.group(cls=Group, invoke_without_command=True)
@click.option(
    "--recipe", "name", type=click.Choice(list(RECIPES)), default="cpu", help="How much to do."
)
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a setting.")
@click.option("--out", type=_FOLDER, default=Path("runs/evidence"), help="Run folder.")
@click.option("--budget", type=_Budget(), help="Time after which it stops, such as 2h.")
@click.option("--data-root", type=_FOLDER, help="Where data sets lie [$SELFFLOW_DATA or data].")
@click.option("--report-only", is_flag=True, help="Write the report of what is there, and stop.")
@click.option(
    "--readme",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="With the report, rewrite the tables of this README.",
)
def main(
    name: str,
    overrides: tuple[str, ...],
    out: Path,
    budget: float | None,
    data_root: Path | None,
    report_only: bool,
    readme: Path | None,
) -> None:
    """Measure what Ω is worth; the same command again goes on where it was stopped."""
    if report_only or readme is not None:
        text = write_report(stored_recipe(out), out)
        if readme is not None:
            paste(out, text, readme)
        click.echo(text)
        return
    chosen = within_reach(recipe(name, overrides), data_root)
    complete = run_experiment(
        chosen,
        out,
        device=pick_device(chosen.device),
        data_root=data_root,
        budget=budget,
        report=partial(write_report, chosen, out),
    )
    click.echo(write_report(chosen, out))
    if not complete:
        console.print("Not finished: the same command goes on.")


if __name__ == "__main__":
    main()
