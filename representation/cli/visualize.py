"""`representation visualize`."""

from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import click
from pydantic import Field, field_validator

from representation.encoder import Encoder, Stride
from representation.known_encoders import description, find_encoder
from representation.pictures.frames import Frames, open_frames
from representation.resnet import ResNet
from representation.visualization import Wanted, visualize
from selfflow.runs.cli import Common, common_options, json_option, print_result
from selfflow.runs.config import Config
from selfflow.runs.devices import pick_device
from selfflow.runs.wording import counted

FINE: Stride = 8  # the stride at which a ResNet is looked at, if it was trained at a coarser one


class VisualizeConfig(Config):
    """What is shown, and how."""

    encoder: str = Field(description="a name in the store, a path, a run's folder, or a built-in")
    architecture: str | None = Field(None, description="of random, imagenet and others' files")
    stride: Stride | None = Field(
        None, description="of the features; not set: as trained, but of a ResNet at most 8"
    )
    short_side: int | None = Field(
        480, ge=16, description="frames are reduced to this; not set: as they are"
    )
    frames: int | None = Field(
        None, ge=1, description="at most so many of each sequence, evenly spread; not set: all"
    )
    pixel: tuple[float, float] | None = Field(None, description="x and y: show its neighbours")
    frame: int = Field(0, ge=0, description="in which the pixel lies, counted from 0")
    segments: int | None = Field(None, ge=2, description="show so many clusters of the features")
    segments_of: Literal["all", "each"] = Field(
        "all", description="cluster all frames together, or each by itself"
    )
    seed: int = Field(0, ge=0, description="of the encoder random")
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N")

    @field_validator("pixel", mode="before")
    @classmethod
    def _pixel(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            x, y = map(float, value.split(","))
        except ValueError:
            raise ValueError(f"a pixel is x,y, such as 120,80, not {value}") from None
        return x, y


DEVICE_DEFAULTS = {"cpu": {"short_side": 240}}


@click.command("visualize")
@click.argument("video", metavar="INPUT")
@click.option("--encoder", help="A name in the store, a path, a run's folder, or a built-in.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of pictures.")
@click.option("--pixel", metavar="X,Y", help="Show where the other frames are like this pixel.")
@click.option("--frame", type=int, help="The number of the frame in which it lies [0].")
@click.option("--segments", type=int, help="Show so many clusters of the features.")
@common_options
@json_option
def visualize_command(common: Common, video: str, out: Path, as_json: bool, **flags: Any) -> None:
    """Show the features of INPUT: a video file, a folder of frames or images, an image, a target.

    Always as colours (their three main directions, the same in all frames); also the neighbours of
    a pixel, and segments. Pictures, and films of what moves.
    """
    config = common.configure(VisualizeConfig, flags, DEVICE_DEFAULTS)
    target = open_frames(video, common.data_root)
    encoder = find_fine_encoder(config)
    frames = Frames(target, encoder, config.short_side, config.frames)
    about = description(config.encoder, encoder)
    size = f", short side {config.short_side}" if config.short_side else ""
    form = f"{encoder.architecture} at stride {encoder.stride}"
    lines = [
        f"{config.encoder}: {form}, on {encoder.mean.device}",
        f"{counted(len(frames), 'frame')} of {video}{size}",
    ]
    common.announce(config, lines)
    wanted = Wanted(config.pixel, config.frame, config.segments, config.segments_of)
    source = {
        "encoder": config.encoder,
        "weights": about["weights"],
        "stride": encoder.stride,
        "input": video,
        "short_side": config.short_side,
    }
    written = visualize(frames, wanted, out, source)
    print_result({k: v for k, v in asdict(written).items() if as_json or v}, as_json)


def find_fine_encoder(config: VisualizeConfig) -> Encoder:
    """Return the encoder, a ResNet without decoder at a stride that is fine enough to be seen."""

    def find(stride: Stride | None) -> Encoder:
        return find_encoder(
            config.encoder,
            architecture=config.architecture,
            stride=stride,
            seed=config.seed,
            device=pick_device(config.device),
        )

    encoder = find(config.stride)
    coarse = isinstance(encoder, ResNet) and encoder.decoder is None and encoder.stride > FINE
    return find(FINE) if coarse and config.stride is None else encoder
