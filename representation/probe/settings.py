"""Settings of the online probe."""

from typing import Literal

from pydantic import Field

from representation.encoder import Stride
from selfflow.runs.config import Config


class ProbeSettings(Config):
    """Which labelled images an encoder is looked at with during training, and how often."""

    data: str | None = Field(
        None, description="data set or folder of images with label maps, or with a folder a class"
    )
    every: int = Field(1000, ge=1, description="steps from one look to the next")
    images: int = Field(40, ge=2, description="at most so many, half of them to test on")
    short_side: int | None = Field(
        240,
        ge=16,
        description="that images are reduced to, also the frames in pictures of features",
    )
    stride: Stride | None = Field(
        8, description="of the features of a ResNet without decoder; not set: as in training"
    )
    kind: Literal["ridge", "neighbours"] = Field("ridge", description="classifier")
    ridge: float = Field(0.01, gt=0, description="charge for the weights of the linear one")
    neighbours: int = Field(20, ge=1, description="that vote in the other one")
