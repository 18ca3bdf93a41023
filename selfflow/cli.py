"""The command line: train, evaluate, predict, models."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import click
from pydantic import Field
from rich import box
from rich.console import Console
from rich.table import Table

from selfflow.datasets import LABELLED, labelled_pairs
from selfflow.evaluation import evaluate
from selfflow.models import known_models, load
from selfflow.prediction import FORMATS, Prediction, predict
from selfflow.runs.cli import Common, Group, common_options, json_option, print_result
from selfflow.runs.config import Config
from selfflow.runs.devices import pick_device
from selfflow.runs.progress import format_duration
from selfflow.runs.run import Run, default_run_path, to_json
from selfflow.runs.store import store, stored_models
from selfflow.training import Training
from selfflow.unsupervised_config import (
    DEVICE_DEFAULTS,
    INITIAL,
    UnsupervisedConfig,
    resolve,
)
from selfflow.video import known_targets, open_target

_OUT = click.Path(path_type=Path)


class EvaluateConfig(Config):
    """What is evaluated on what."""

    model: str = Field(description="a path, a name in the model store, or a built-in")
    data: str = Field(description="a data set with labels, or a folder in the layout of one")
    iterations: int = Field(24, ge=1, description="of the network")
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N")


class PredictConfig(Config):
    """What is predicted, and how it is written."""

    model: str = Field(description="a path, a name in the model store, or a built-in")
    format: Literal["flo", "kitti", "npy"] = Field("flo", description="of the flow files")
    visualize: bool = Field(False, description="write pictures in colour and a film as well")
    iterations: int = Field(24, ge=1, description="of the network")
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N")


@click.group(cls=Group)
def main() -> None:
    """Optical flow: self-supervised training, evaluation, prediction."""


@main.command()
@click.option("--target", help=f"{', '.join(known_targets())}, or a path [what --init is for].")
@click.option("--init", help=f"Network to start from [the first there is of {', '.join(INITIAL)}].")
@click.option("--name", help="Of the result in the model store [s-af-ss].")
@click.option("--out", type=_OUT, help="Run folder.")
@click.option("--steps", type=int, help="Steps in all.")
@click.option("--budget", help="Stop after this time, such as 2h.")
@common_options
@json_option
def train(
    common: Common,
    target: str | None,
    init: str | None,
    name: str | None,
    out: Path | None,
    steps: int | None,
    budget: str | None,
    as_json: bool,
) -> None:
    """Train a network on a target's frames without labels; the same command again continues."""
    flags = {
        "target": target,
        "init": init,
        "name": name,
        "loop.steps": steps,
        "loop.budget": budget,
    }
    config, chosen = resolve(common.configure(UnsupervisedConfig, flags, DEVICE_DEFAULTS))
    training = Training.prepare(config, common.data_root)
    common.announce(config, [*chosen, *training.estimate()])
    folder = out or default_run_path("train", Path(config.name).stem)
    with Run.open(folder, "train", config) as run:
        results = training.run(run)
    if as_json:
        print_result(results, as_json=True)
        return
    _output().print(_before_and_after(results))
    summary = {
        "model": results.get("model", ""),
        "run": str(folder),
        "steps": results["steps"],
        "time": format_duration(results["seconds"]),
    }
    print_result(summary, as_json=False)


def _output() -> Console:
    """Return standard output for tables; where it is no terminal, it is wide enough for them."""
    return Console(width=None if sys.stdout.isatty() else 120)


def _before_and_after(results: dict[str, Any]) -> Table:
    count = results["pairs"]["held_out"]
    side = results["short_side"]
    size = f"frames of at most {side} px on the short side" if side else "whole frames"
    title = f"{results['target']}: means over {count} held-out pairs, {size}"
    table = Table(title=title, box=box.SIMPLE_HEAD)
    table.add_column("term")
    table.add_column(f"before ({results['init']})", justify="right")
    table.add_column("after", justify="right")
    for term, before in results["before"].items():
        table.add_row(term.replace("_", " "), f"{before:.4f}", f"{results['after'][term]:.4f}")
    return table


@main.command("evaluate")
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
        _output().print(table)


@main.command("predict")
@click.argument("video", metavar="INPUT")
@click.option("--model", help="A path, a name in the model store, or a built-in (dis, zero, ...).")
@click.option("--out", type=_OUT, required=True, help="Folder of the results.")
@click.option("--format", "kind", type=click.Choice(list(FORMATS)), help="Of the flow files [flo].")
@click.option("--visualize", is_flag=True, default=None, help="Pictures in colour and a film, too.")
@click.option("--iterations", type=int, help="Of the network [24].")
@common_options
@json_option
def predict_command(
    common: Common,
    video: str,
    model: str | None,
    out: Path,
    kind: str | None,
    visualize: bool | None,
    iterations: int | None,
    as_json: bool,
) -> None:
    """Write the flow of INPUT: a folder of frames, a video file, or a known target."""
    flags = {"model": model, "format": kind, "visualize": visualize, "iterations": iterations}
    config = common.configure(PredictConfig, flags)
    device = pick_device(config.device)
    network = load(config.model, device)
    target = open_target(video, common.data_root)
    pairs = sum(len(sequence) - 1 for sequence in target.sequences)
    common.announce(config, [f"{config.model} on {pairs} pairs of {video}, {device}"])
    summary = predict(
        network,
        target,
        out,
        Prediction(config.model, video, config.format, config.iterations),
        visualize=config.visualize,
        device=device,
    )
    print_result(asdict(summary), as_json)


@main.command()
@json_option
def models(as_json: bool) -> None:
    """List the models that have a name: those of the store, those shipped and the built-in."""
    known = known_models()
    if as_json:
        print_result(known, as_json=True)
        return
    table = Table(title=f"Flow models (store: {store()})", box=box.SIMPLE_HEAD)
    columns = ("architecture", "target", "made by", "steps")
    for column in ("name", *columns):
        table.add_column(column, no_wrap=column == "name")
    named = stored_models()
    for name in sorted(known, key=lambda name: name not in named):
        values = (known[name].get(column.replace(" ", "_"), "") for column in columns)
        table.add_row(name, *(str(value) for value in values))
    _output().print(table)
