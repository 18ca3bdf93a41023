"""`selfflow submit`."""

from dataclasses import asdict
from pathlib import Path

import click

from selfflow.cli.terminal import PATH
from selfflow.models import load
from selfflow.runs.cli import Common, common_options, json_option, print_result
from selfflow.runs.devices import pick_device
from selfflow.runs.run import Run
from selfflow.runs.wording import counted
from selfflow.submission import BENCHMARKS, SubmissionConfig, find_test_pairs, submit
from selfflow.warm_start import FlowInTurn


@click.command("submit")
@click.option("--model", help="A path, a name in the model store, or a built-in (dis, zero, ...).")
@click.option("--data", help=f"{', '.join(BENCHMARKS)}, or the folder of one.")
@click.option("--out", type=PATH, required=True, help="Folder of the files.")
@click.option("--iterations", type=int, help="Of the network [32].")
@click.option(
    "--warm-start", is_flag=True, default=None, help="Begin at the flow of the pair before."
)
@common_options
@json_option
def submit_command(
    common: Common,
    model: str | None,
    data: str | None,
    out: Path,
    iterations: int | None,
    warm_start: bool | None,
    as_json: bool,
) -> None:
    """Write flow of test frames as a benchmark's server takes it; the same command continues."""
    flags = {"model": model, "data": data, "iterations": iterations, "warm_start": warm_start}
    config = common.configure(SubmissionConfig, flags)
    device = pick_device(config.device)
    flow_of = FlowInTurn(
        load(config.model, device),
        config.iterations,
        warm_start=config.warm_start,
        name=config.model,
    )
    benchmark, pairs = find_test_pairs(config.data, common.data_root)
    lines = [f"{config.model} on {counted(len(pairs), 'test pair')} of {config.data}, {device}"]
    if len(pairs) != benchmark.count:
        lines.append(f"the benchmark has {benchmark.count} pairs: its server will not take these")
    common.announce(config, lines)
    with Run.open(out, "submission", config):
        summary = submit(flow_of, benchmark, pairs, out, device)
    print_result(asdict(summary), as_json)
