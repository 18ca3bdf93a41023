"""What a multi-frame training is asked for, and what it takes where nothing is said."""

from typing import Any, Literal

from pydantic import Field, PositiveInt

from selfflow.augment import Augmentation
from selfflow.multiframe import LabelSettings
from selfflow.objective import ObjectiveSettings
from selfflow.runs.loop import LoopSettings
from selfflow.stage_config import StageConfig
from selfflow.supervised import Size, TrainSettings
from selfflow.unsupervised_config import SMURF_AUGMENTATION


class MultiframeConfig(StageConfig, TrainSettings):
    """A training on what three frames tell. The defaults are SMURF's, for a GPU."""

    stage: Literal["multiframe"] = "multiframe"
    name: str = Field("s-af-mf", description="of the result in the model store")
    loop: LoopSettings = LoopSettings(steps=30_000, precision="bfloat16")
    batch_size: int = Field(8, ge=1, description="pairs in a batch")
    crop: Size = Field((368, 496), description="height and width of crops, px")
    learning_rate: float = Field(2e-4, gt=0, description="peak")
    schedule: Literal["one_cycle", "constant_then_halve", "constant"] = Field(
        "constant_then_halve",
        description="5 % warm-up then linear to zero; SMURF's: halved in the last sixth; no change",
    )
    weight_decay: float = Field(0.0, ge=0, description="of AdamW")
    short_side: int | None = Field(
        None, ge=16, description="frames are reduced to this shorter side, px"
    )
    gaps: tuple[PositiveInt, ...] = Field(
        (1,), min_length=1, description="frames from one of a triplet to the next"
    )
    label_margin: int | None = Field(
        None, ge=0, description="leave out labelled pairs and so many frames beside; none: take all"
    )
    triplets: int = Field(10_000, ge=2, description="at most so many, spread over the target")
    held_out: int = Field(32, ge=1, description="pairs that are only measured")
    labels: LabelSettings = LabelSettings()
    augmentation: Augmentation = SMURF_AUGMENTATION
    # Only measured, before and after: labels are what is learned from.
    objective: ObjectiveSettings = ObjectiveSettings()


DEVICE_DEFAULTS: dict[str, dict[str, Any]] = {
    # Two cores are done within 10 minutes.
    "cpu": {
        "loop.steps": 150,
        "loop.precision": "float32",
        "loop.log_every": 10,
        "loop.pictures_every": 50,
        "batch_size": 2,
        "crop": (128, 160),
        "iterations": 6,
        "short_side": 160,
        "triplets": 100,
        "held_out": 6,
        "labels.iterations": 12,
        "labels.pairs_at_once": 1,
        "labels.batch_size": 8,
        "labels.fit.steps": 400,
        "labels.fit.stride": 4,
    }
}
