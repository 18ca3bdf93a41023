"""`selfflow train`."""

from pathlib import Path
from typing import Any

import click
from rich import box
from rich.table import Table

from selfflow.cli.terminal import PATH, output
from selfflow.runs.cli import Common, common_options, distributed, json_option, print_result
from selfflow.runs.distributed import together
from selfflow.runs.progress import format_duration
from selfflow.runs.run import Run, default_run_path
from selfflow.runs.store import model_path
from selfflow.stage_config import INITIAL, resolve
from selfflow.stages import KINDS, kind_named, stage_of
from selfflow.video import known_targets


@click.command()
@distributed
@click.option("--stage", type=click.Choice(list(KINDS)), help="Kind of training [the recipe's].")
@click.option("--target", help=f"{', '.join(known_targets())}, or a path [what --init is for].")
@click.option("--init", help=f"Network to start from [the first there is of {', '.join(INITIAL)}].")
@click.option("--name", help="Of the result in the model store [s-af-ss].")
@click.option("--out", type=PATH, help="Run folder.")
@click.option("--steps", type=int, help="Steps in all.")
@click.option("--budget", help="Stop after this time, such as 2h.")
@common_options
@json_option
def train(
    common: Common,
    stage: str | None,
    target: str | None,
    init: str | None,
    name: str | None,
    out: Path | None,
    steps: int | None,
    budget: str | None,
    as_json: bool,
) -> None:
    """Train a network on a target's frames without labels; the same command again continues.

    Other stages: multiframe learns from what three frames tell, supervised from labelled pairs.
    """
    kind = together(lambda: kind_named(stage or stage_of(common.config)))
    flags = {
        "stage": stage,
        "target": target,
        "init": init,
        "name": name,
        "loop.steps": steps,
        "loop.budget": budget,
    }
    config, chosen = together(
        lambda: resolve(common.configure(kind.config, flags, kind.device_defaults))
    )
    training = together(lambda: kind.prepare(config, common.data_root))
    folder = out or default_run_path("train", Path(config.name).stem)
    if model_path(config.name).exists() and not folder.exists():
        chosen = [*chosen, f"at the end, {model_path(config.name)} of another run is replaced"]
    common.announce(config, [*chosen, *training.estimate()])
    with Run.open(folder, "train", config) as run:
        results = training.run(run)
    if as_json:
        print_result(results, as_json=True)
        return
    output().print(before_and_after(results))
    summary = {
        "model": results.get("model", ""),
        "run": str(folder),
        "steps": results["steps"],
        "time": format_duration(results["seconds"]),
    }
    print_result(summary, as_json=False)


def before_and_after(results: dict[str, Any]) -> Table:
    """Return the table of what a stage on a target says of the network it began with and made."""
    table = Table(title=results.get("title", ""), box=box.SIMPLE_HEAD)
    table.add_column("term")
    table.add_column(f"before ({results['init']})", justify="right")
    table.add_column("after", justify="right")
    for term, before in results["before"].items():
        table.add_row(term.replace("_", " "), f"{before:.4f}", f"{results['after'][term]:.4f}")
    return table
