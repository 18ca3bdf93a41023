"""Settings that segmentation and depth share."""

from typing import Literal

from pydantic import Field, PositiveFloat, model_validator

from representation.encoder import Stride
from representation.readout.settings import ReadoutSettings
from selfflow.runs.config import Config
from selfflow.runs.loop import LoopSettings


class PartSettings(Config):
    """Which images are trained and tested on."""

    train: str | None = Field(
        None, description="a part, PART:0-50%, or several with +; not set: the data set's own"
    )
    test: str | None = Field(None, description="likewise")
    label_share: float = Field(100.0, gt=0, le=100, description="% of the training images")
    subset_seed: int = Field(0, ge=0, description="of the images of a label share")
    most: int | None = Field(None, ge=1, description="images to train on, and to test on")
    short_side: int | None = Field(
        None, ge=16, description="px, to which images are resized, not labels; not set: as they are"
    )


class AugmentationSettings(Config):
    """How training images are changed. Features are not cached then."""

    height: int | None = Field(None, ge=16, description="px of a crop; not set: the whole image")
    width: int | None = Field(None, ge=16, description="px of a crop; not set: the whole image")
    zoom: tuple[PositiveFloat, PositiveFloat] = Field(
        (1.0, 1.0), description="range of the factor by which an image is resized"
    )
    short_side: tuple[int, int] | None = Field(
        None, description="range, in px, to which the short side is resized before"
    )
    flip: float = Field(0.0, ge=0, le=1, description="share of images that are flipped sideways")

    @model_validator(mode="after")
    def _check(self) -> "AugmentationSettings":
        for name in ("zoom", "short_side"):
            values = getattr(self, name)
            if values is not None and not 0 < values[0] <= values[1]:
                raise ValueError(f"{name} must be a range of positive numbers, low to high")
        if (self.height is None) != (self.width is None):
            raise ValueError("a crop has a height and a width")
        return self

    @property
    def active(self) -> bool:
        """Whether anything is changed."""
        return self != AugmentationSettings()


class HeadSettings(Config):
    """What turns features into an output for each pixel."""

    kind: Literal["linear", "deeplabv3", "fcn16s"] = Field(
        "linear", description="see representation.readout.dense.heads"
    )
    normalise: bool = Field(
        True, description="batch normalisation without weights of its own before the head"
    )


class TrainingSettings(Config):
    """How the head, and with `finetune` the encoder, is trained."""

    optimizer: Literal["sgd", "adamw"] = "sgd"
    learning_rates: tuple[PositiveFloat, ...] = Field(
        (0.03, 0.1, 0.3, 1.0, 3.0),
        min_length=1,
        description="of several the best on held-out training images is taken",
    )
    held_out: float = Field(0.2, gt=0, lt=1, description="share of the training images for that")
    schedule: Literal["poly", "cosine", "constant", "steps"] = Field(
        "poly", description="poly: to 0, power 0.9; steps: a tenth at 70 and at 90 %"
    )
    momentum: float = Field(0.9, ge=0, lt=1, description="of SGD; of AdamW the first")
    weight_decay: float = Field(0.0, ge=0)
    batch_size: int = Field(8, ge=1, description="images in a step")
    epochs: float | None = Field(
        None, gt=0, description="passes over the training images, in place of loop.steps"
    )
    pixels: int | None = Field(
        4096, ge=1, description="random ones of an image that the loss is taken at; not set: all"
    )
    finetune: bool = Field(False, description="train the encoder too")


class WindowSettings(Config):
    """Windows that a test image is looked at through."""

    height: int | None = Field(None, ge=16, description="px; not set: the whole image at once")
    width: int | None = Field(None, ge=16, description="px; not set: the whole image at once")
    overlap: float = Field(0.5, ge=0, lt=1, description="share of a window, at the least")


class CacheSettings(Config):
    """Features of frozen encoders, kept on disk for all runs."""

    keep: bool = Field(True, description="keep them, in features/ beside runs, as float16")
    gib: float = Field(20.0, gt=0, description="that all of them may take; the oldest go first")


class DenseSettings(ReadoutSettings):
    """What readouts of every pixel share; the defaults are the protocol of our own."""

    output_stride: Stride | None = Field(
        None, description="of encoders without a decoder, where `stride` is not set"
    )
    parts: PartSettings = PartSettings()
    head: HeadSettings = HeadSettings()
    training: TrainingSettings = TrainingSettings()
    augmentation: AugmentationSettings = AugmentationSettings()
    window: WindowSettings = WindowSettings()
    cache: CacheSettings = CacheSettings()
    loop: LoopSettings = LoopSettings(steps=1000, clip=0.0, pictures_every=0)
    bootstrap: int = Field(1000, ge=0, description="samples of the test images, for an interval")
    block: int = Field(1, ge=1, description="neighbouring test images drawn together, for video")
    pictures: int = Field(6, ge=0, description="test images that are shown")
    predictions: bool = Field(False, description="write every test image's prediction as a PNG")

    @model_validator(mode="after")
    def _check(self) -> "DenseSettings":
        if self.training.finetune and len(self.training.learning_rates) > 1:
            raise ValueError("with training.finetune there is one of training.learning_rates")
        if self.head.kind == "deeplabv3" and self.training.batch_size < 2:
            raise ValueError("deeplabv3 normalises over images: training.batch_size is at least 2")
        if (self.window.height is None) != (self.window.width is None):
            raise ValueError("a window has a height and a width")
        return self
