"""What a self-supervised training is asked for, and what it takes where nothing is said."""

from typing import Any, Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from selfflow.augment import Augmentation, Geometry
from selfflow.photometry import Colors
from selfflow.runs.loop import LoopSettings
from selfflow.runs.schedule import constant_then_halve
from selfflow.stage_config import StageConfig
from selfflow.supervised import Size
from selfflow.unsupervised import SelfSupervision

# SMURF's: frames are mirrored, zoomed and stretched, not turned; colours change without noise.
SMURF_AUGMENTATION = Augmentation(
    geometry=Geometry(rotation=0, relative_zoom=0, relative_rotation=0, relative_translation=0),
    colors=Colors(gamma=0, noise=0),
)


class UnsupervisedConfig(StageConfig):
    """A self-supervised training. The defaults are SMURF's, for a GPU."""

    stage: Literal["self-supervised"] = "self-supervised"
    name: str = Field("s-af-ss", description="of the result in the model store")
    loop: LoopSettings = LoopSettings(steps=75_000, precision="bfloat16")
    batch_size: int = Field(8, ge=1, description="pairs in a batch")
    crop: Size = Field((368, 496), description="height and width of crops, px")
    margin: tuple[NonNegativeInt, NonNegativeInt] = Field(
        (100, 200), description="rows and columns around a crop that its flow may reach, px"
    )
    short_side: int | None = Field(
        None, ge=16, description="frames are reduced to this shorter side, px"
    )
    gaps: tuple[PositiveInt, ...] = Field(
        (1,), min_length=1, description="frames from a pair's first to its second"
    )
    label_margin: int | None = Field(
        None, ge=0, description="leave out labelled pairs and so many frames beside; none: take all"
    )
    pairs: int = Field(50_000, ge=2, description="at most so many pairs, spread over the target")
    held_out: int = Field(32, ge=1, description="pairs that are only measured")
    guard_every: int = Field(
        500, ge=0, description="steps between looks at whether motion is still seen; 0: none"
    )
    learning_rate: float = Field(
        2e-4, gt=0, description="for five sixths of the steps, then halved five times"
    )
    losses: SelfSupervision = SelfSupervision()
    augmentation: Augmentation = SMURF_AUGMENTATION

    def rate(self, step: int) -> float:
        """Return the learning rate of a step."""
        return constant_then_halve(step, self.loop.steps, self.learning_rate)


DEVICE_DEFAULTS: dict[str, dict[str, Any]] = {
    # Two cores are done within 15 minutes.
    "cpu": {
        "loop.steps": 150,
        "loop.precision": "float32",
        "loop.log_every": 10,
        "loop.pictures_every": 50,
        # With the GPU's 2e-4, or on frames of 160 px, s-af-small became worse on other films.
        "learning_rate": 5e-5,
        "batch_size": 2,
        "crop": (192, 256),
        "margin": (24, 32),
        "short_side": 240,
        "pairs": 500,
        "held_out": 6,
        "guard_every": 25,
        "losses.iterations": 8,
    }
}
