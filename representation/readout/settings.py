"""Settings that all readouts share; a task adds its own."""

from pydantic import Field

from representation.encoder import Stride
from selfflow.runs.config import Config


class ReadoutSettings(Config):
    """What is read out, on what, and by which protocol."""

    encoder: str = Field(
        description="a file, a run's folder, a name in the store, random, imagenet, timm/NAME, "
        "flow/MODEL"
    )
    architecture: str | None = Field(
        None, description="of random, imagenet and foreign files; not set: resnet50"
    )
    stride: Stride | None = Field(None, description="of the backbone; not set: as it was trained")
    data: str = Field(description="a data set's name, or a folder")
    protocol: str = Field(description="whose numbers are taken")
    quick: bool = Field(False, description="the protocol scaled down")
    seed: int = Field(0, ge=0, description="of everything random")
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N")
