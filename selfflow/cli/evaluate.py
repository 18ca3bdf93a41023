"""`selfflow evaluate`."""

import click
from pydantic import Field

from selfflow.cli.terminal import output
from selfflow.datasets import LABELLED, labelled_pairs
from selfflow.evaluation import evaluate
from selfflow.models import load
from selfflow.runs.cli import Common, common_options, json_option
from selfflow.runs.config import Config
from selfflow.runs.devices import pick_device
from selfflow.runs.run import to_json


class EvaluateConfig(Config):
    """What is evaluated on what."""

    model: str = Field(description="a path, a name in the model store, or a built-in")
    data: str = Field(description="a data set with labels, or a folder in the layout of one")
    iterations: int = Field(24, ge=1, description="of the network")
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N")


@click.command("evaluate")
@click.option("--model", help="A path, a name in the model store, or a built-in (dis, zero, ...).")
@click.option("--data", help=f"{', '.join(LABELLED)}, or a folder in the layout of one.")
@click.option("--iterations", type=int, help="Of the network [24].")
@common_options
@json_option
def evaluate_command(
    common: Common, model: str | None, data: str | None, iterations: int | None, as_json: bool
) -> None:
    """Measure a model's errors where the flow is known."""
    flags = {"model": model, "data": data, "iterations": iterations}
    config = common.configure(EvaluateConfig, flags)
    device = pick_device(config.device)
    network = load(config.model, device)
    pairs = labelled_pairs(config.data, common.data_root)
    common.announce(config, [f"{config.model} on {len(pairs)} pairs of {config.data}, {device}"])
    evaluation = evaluate(
        network,
        pairs,
        iterations=config.iterations,
        device=device,
        name=config.model,
        data=config.data,
    )
    if as_json:
        click.echo(to_json(evaluation.as_dict()))
        return
    for table in evaluation.tables():
        output().print(table)
