"""Settings of detection and instances."""

from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt

from representation.readout.settings import ReadoutSettings
from selfflow.runs.config import Config
from selfflow.runs.loop import LoopSettings


class DetectorSettings(Config):
    """What is built on the encoder."""

    kind: Literal["c4", "fpn", "retinanet"] = Field(
        "fpn", description="Faster (Mask) R-CNN on one map of stride 16 or on a pyramid; RetinaNet"
    )
    frozen: bool = Field(False, description="train what is new alone; the encoder stays as it is")
    norm: Literal["frozen", "trained", "synchronised"] = Field(
        "trained",
        description="the encoder's batch norm: its statistics and weights as they are; of the "
        "batch; of all processes' batches",
    )
    new_norm: bool = Field(
        False, description="batch norm also in pyramid and heads; c4: after the last stage"
    )
    pyramid: int = Field(256, ge=8, description="channels of the pyramid")
    convolutions: int = Field(0, ge=0, description="before the box head's linear layers, of fpn")
    width: int = Field(1024, ge=8, description="of the box head's linear layers, of fpn")
    mask_width: int = Field(256, ge=8, description="channels of the mask head")
    keypoint_width: int = Field(512, ge=8, description="channels of the keypoint head")
    anchors: tuple[PositiveInt, ...] = Field(
        (32, 64, 128, 256, 512), min_length=1, description="px; fpn, retinanet: one for each level"
    )
    ratios: tuple[PositiveFloat, ...] = Field(
        (0.5, 1.0, 2.0), min_length=1, description="height over width of the anchors"
    )
    candidates: int = Field(2000, ge=1, description="best anchors of a level before suppression")
    proposals: int = Field(2000, ge=1, description="after it, in training")
    test_candidates: int = Field(1000, ge=1, description="as candidates, in testing")
    test_proposals: int = Field(1000, ge=1, description="as proposals, in testing")
    anchor_samples: int = Field(256, ge=2, description="anchors of an image that are learned from")
    box_samples: int = Field(512, ge=2, description="proposals of an image that are learned from")
    score: float = Field(0.05, ge=0, lt=1, description="least of a detection")
    suppression: float = Field(0.5, gt=0, lt=1, description="IoU above which the better one stays")
    detections: int = Field(100, ge=1, description="of an image, at most")


class ScheduleSettings(Config):
    """The optimiser, and its learning rate as a function of the step."""

    kind: Literal["sgd", "adamw"] = Field("sgd", description="rule of the steps")
    learning_rate: float = Field(0.02, gt=0, description="after the warm-up")
    momentum: float = Field(0.9, ge=0, lt=1, description="of the gradients; of AdamW the first")
    weight_decay: float = Field(1e-4, ge=0, description="not of normalisation")
    encoder_rate: float = Field(
        1.0, gt=0, description="learning rate of the encoder, as a multiple of the others'"
    )
    warmup: int = Field(1000, ge=0, description="steps in which the rate rises from a thousandth")
    drops: tuple[PositiveFloat, ...] = Field(
        (), description="shares of the training after which the rate is a tenth"
    )


class ObjectSettings(ReadoutSettings):
    """How objects are found. The defaults are those of the protocol `default`."""

    protocol: str = Field("default", description="whose numbers are taken")
    train: str | None = Field(None, description="part of the data that is learned from")
    test: str | None = Field(None, description="part of the data that is tested on")
    classes: tuple[str, ...] | None = Field(None, description="these alone; not set: all")
    label_share: float = Field(100.0, gt=0, le=100, description="% of the images to learn from")
    subset_seed: int = Field(0, ge=0, description="of the images of a label share")
    images: int | None = Field(
        None, ge=1, description="at most so many of them, the first ones; not set: all"
    )
    batch_size: int = Field(4, ge=1, description="images in a batch")
    epochs: PositiveInt | None = Field(None, description="replace loop.steps")
    short_sides: tuple[PositiveInt, ...] = Field(
        (224, 256, 288), min_length=1, description="px, one is drawn for each image to learn from"
    )
    test_short_side: int = Field(256, ge=32, description="px of the images to test on")
    long_side: int = Field(512, ge=32, description="px, at most")
    flip: bool = Field(True, description="mirror half of the images to learn from")
    precise_norm: int = Field(
        0, ge=0, description="batches that batch norm's statistics are measured on in the end"
    )
    permuted: bool = Field(
        False, description="give each image another one's objects, to see what chance reaches"
    )
    pictures: int = Field(8, ge=0, description="test images that are drawn")
    detector: DetectorSettings = DetectorSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    loop: LoopSettings = LoopSettings(clip=0.0, pictures_every=0)
