"""`selfflow evaluate`."""

import click
from pydantic import Field

from selfflow.badja import NAMES, find_badja, joint_videos
from selfflow.cli.terminal import output
from selfflow.datasets import LABELLED, labelled_pairs
from selfflow.evaluation import Evaluation, evaluate
from selfflow.keypoints import KeypointEvaluation, evaluate_keypoints
from selfflow.models import default_model, load
from selfflow.published import dataset_name
from selfflow.runs.cli import Common, common_options, json_option
from selfflow.runs.config import Config
from selfflow.runs.devices import pick_device
from selfflow.runs.run import to_json
from selfflow.runs.wording import counted


class EvaluateConfig(Config):
    """What is evaluated on what."""

    model: str = Field(
        default_factory=default_model, description="a path, a name in the store, or a built-in"
    )
    data: str = Field(description="a data set with labels, or a folder of frames with flow")
    parts: tuple[str, ...] = Field((), description="of the data set; none means the usual ones")
    iterations: int = Field(12, ge=1, description="of the network; RAFT's paper: 32 on Sintel")
    warm_start: bool = Field(False, description="on video, begin at the flow of the pair before")
    short_side: int = Field(480, ge=1, description="in px, to which BADJA's frames are resized")
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N")


@click.command("evaluate")
@click.option(
    "--model", help="A path, a name in the store, or a built-in (dis, zero, ...) [s-af-small]."
)
@click.option("--data", help=f"{', '.join((*LABELLED, *NAMES))}, or a folder of one.")
@click.option("--part", "parts", multiple=True, help="Only this part (clean, say); repeatable.")
@click.option("--iterations", type=int, help="Of the network [12].")
@click.option(
    "--warm-start", is_flag=True, default=None, help="Begin at the flow of the pair before."
)
@common_options
@json_option
def evaluate_command(
    common: Common,
    model: str | None,
    data: str | None,
    parts: tuple[str, ...],
    iterations: int | None,
    warm_start: bool | None,
    as_json: bool,
) -> None:
    """Measure a model's errors where the flow, or BADJA's joints, are known."""
    flags = {
        "model": model,
        "data": data,
        "parts": parts or None,
        "iterations": iterations,
        "warm_start": warm_start,
    }
    config = common.configure(EvaluateConfig, flags)
    evaluation = _keypoints(config, common) or _flow(config, common)
    if as_json:
        click.echo(to_json(evaluation.as_dict()))
        return
    for table in evaluation.tables():
        output().print(table)


def _flow(config: EvaluateConfig, common: Common) -> Evaluation:
    device = pick_device(config.device)
    network = load(config.model, device)
    pairs = labelled_pairs(config.data, common.data_root, config.parts)
    count = counted(len(pairs), "pair")
    common.announce(config, [f"{config.model} on {count} of {config.data}, {device}"])
    return evaluate(
        network,
        pairs,
        iterations=config.iterations,
        warm_start=config.warm_start,
        device=device,
        name=config.model,
        data=config.data,
        dataset=dataset_name(config.data),
    )


def _keypoints(config: EvaluateConfig, common: Common) -> KeypointEvaluation | None:
    """Return the PCK on BADJA, or None if the data is something else."""
    folder = find_badja(config.data, common.data_root)
    if folder is None:
        return None
    device = pick_device(config.device)
    network = load(config.model, device)
    videos, skipped = joint_videos(
        folder, common.data_root, davis_only=config.data.lower() == "davis-badja"
    )
    frames = sum(len(video.frames) for video in videos)
    count = counted(len(videos), "video")
    lines = [f"{config.model} on {count} of {config.data}, {counted(frames, 'frame')}, {device}"]
    lines += [f"left out: {name}: {reason}" for name, reason in skipped.items()]
    common.announce(config, lines)
    return evaluate_keypoints(
        network,
        videos,
        iterations=config.iterations,
        warm_start=config.warm_start,
        short_side=config.short_side,
        device=device,
        name=config.model,
        data=config.data,
        skipped=skipped,
    )
