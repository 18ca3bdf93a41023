"""`selfflow predict`."""

from dataclasses import asdict
from pathlib import Path
from typing import Literal

import click
from pydantic import Field

from selfflow.cli.terminal import PATH
from selfflow.models import load
from selfflow.prediction import FORMATS, Prediction, predict
from selfflow.runs.cli import Common, common_options, json_option, print_result
from selfflow.runs.config import Config
from selfflow.runs.devices import pick_device
from selfflow.video import open_target


class PredictConfig(Config):
    """What is predicted, and how it is written."""

    model: str = Field(description="a path, a name in the model store, or a built-in")
    format: Literal["flo", "kitti", "npy"] = Field("flo", description="of the flow files")
    visualize: bool = Field(False, description="write pictures in colour and a film as well")
    iterations: int = Field(24, ge=1, description="of the network")
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N")


@click.command("predict")
@click.argument("video", metavar="INPUT")
@click.option("--model", help="A path, a name in the model store, or a built-in (dis, zero, ...).")
@click.option("--out", type=PATH, required=True, help="Folder of the results.")
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
