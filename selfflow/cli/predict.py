"""`selfflow predict`."""

from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import click
from pydantic import Field

from selfflow.cli.terminal import PATH
from selfflow.models import default_model, load
from selfflow.prediction import Extras, Prediction, Summary, predict
from selfflow.runs.cli import Common, common_options, json_option, print_result
from selfflow.runs.config import Config, replace_values
from selfflow.runs.devices import pick_device
from selfflow.runs.wording import counted
from selfflow.video import open_target

_FORMATS = ("flo", "kitti", "npy", "none")


class PredictConfig(Config):
    """What is predicted, and how it is written."""

    model: str | None = Field(None, description="a path, a run, or a name; default: the shipped")
    format: Literal["flo", "kitti", "npy", "none"] = Field("flo", description="of the flow files")
    visibility: bool = Field(False, description="write masks of what the next frame shows")
    pictures: bool = Field(False, description="write the flow in colour")
    film: bool = Field(False, description="write a film of frames beside their flow")
    quality: bool = Field(False, description="judge each pair's flow without ground truth")
    size: int | None = Field(None, ge=1, description="short side of the frames; default: theirs")
    iterations: int = Field(12, ge=1, description="of the network")
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N")


@click.command("predict")
@click.argument("video", metavar="INPUT")
@click.option("--model", help="A path, a run, a name in the store, or a built-in [s-af-small].")
@click.option("--out", type=PATH, required=True, help="Folder of the results.")
@click.option("--format", "kind", type=click.Choice(_FORMATS), help="Of the flow files [flo].")
@click.option(
    "--visibility", is_flag=True, default=None, help="Masks of what the next frame shows."
)
@click.option("--pictures", is_flag=True, default=None, help="The flow in colour.")
@click.option("--film", is_flag=True, default=None, help="A film of frames beside their flow.")
@click.option("--visualize", is_flag=True, default=None, help="Both: --pictures --film.")
@click.option("--quality", is_flag=True, default=None, help="Judge each pair's flow by itself.")
@click.option("--size", type=int, help="Short side to which frames are reduced.")
@click.option("--iterations", type=int, help="Of the network [12].")
@common_options
@json_option
def predict_command(common: Common, video: str, out: Path, as_json: bool, **options: Any) -> None:
    """Write the flow of INPUT: a folder of frames, a video file, or a known target.

    Stopped at any moment and started again, it goes on. Shot cuts are found, get no flow, and are
    listed in pairs.csv.
    """
    flags = {**options, "format": options["kind"]}
    for both in ("pictures", "film"):
        flags[both] = flags[both] or flags["visualize"]
    del flags["kind"], flags["visualize"]
    config = common.configure(PredictConfig, flags)
    device = pick_device(config.device)
    name = config.model or default_model()
    network = load(name, device)
    target = open_target(video, common.data_root)
    pairs = sum(len(sequence) - 1 for sequence in target.sequences)
    config = replace_values(config, {"model": name})
    common.announce(config, [f"{name} on {counted(pairs, 'pair')} of {video}, {device}"])
    summary = predict(
        network,
        target,
        out,
        Prediction(name, video, config.format, config.iterations, config.size),
        Extras(config.visibility, config.pictures, config.film, config.quality),
        device=device,
    )
    print_result(asdict(summary) if as_json else _lines(summary), as_json)


def _lines(summary: Summary) -> dict[str, Any]:
    """Return the summary for a person: of the quality, a line for each sequence."""
    lines = {key: value for key, value in asdict(summary).items() if key != "quality" and value}
    for name, quality in summary.quality.items():
        means = quality.means
        lines[f"quality of {name}"] = ", ".join(
            f"{means[measure]:.3g} {unit}"
            for measure, unit in (
                ("forward_backward", "px forward-backward error"),
                ("not_visible", "% not visible"),
                ("l1", "grey levels photometric error"),
                ("l1_still", "without motion"),
            )
            if measure in means
        )
        lines[f"worst of {name}"] = ", ".join(
            f"{frame} ({error:.3g} px)" for frame, error in quality.worst.items()
        )
    return lines
