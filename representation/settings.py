"""Settings that every pre-training method shares; a method adds a table of its own."""

from typing import Any, Literal, get_args

from pydantic import Field, PositiveFloat, PositiveInt, field_validator

from representation.encoder import Decoder, Stride
from representation.probe.settings import ProbeSettings
from representation.resnet import Architecture
from representation.views import ViewSize
from selfflow.runs.config import Config
from selfflow.runs.loop import LoopSettings


class EncoderSettings(Config):
    """The network that is trained."""

    architecture: str = Field("resnet50", description="resnet18, 34, 50 or 101, or timm/NAME")
    stride: Stride = Field(8, description="pixels from one cell of the last stage to the next")
    decoder: Decoder = Field("none", description="fpn: one map of all stages, at stride 4")
    init: str = Field(
        "random", description="first weights: random, a name in the store, a run's folder, a file"
    )

    @field_validator("architecture")
    @classmethod
    def _check_architecture(cls, value: str) -> str:
        known = get_args(Architecture)
        if value not in known and not value.startswith("timm/"):
            raise ValueError(f"known are {', '.join(known)}, and timm/NAME")
        return value


class HeadSettings(Config):
    """Projector and predictor; the defaults are BYOL's."""

    hidden: int = Field(4096, ge=1, description="width of the hidden layer")
    out: int = Field(256, ge=1, description="width of the projection")


class OptimizerSettings(Config):
    """The optimiser; the defaults are FlowE's, section 4.3."""

    kind: Literal["lars", "sgd", "adamw"] = Field("lars", description="rule of the steps")
    learning_rate: float = Field(0.1, gt=0, description="at its peak; falls along half a cosine")
    reference_batch: int | None = Field(
        None,
        ge=1,
        description="batch that the learning rate is given for, scaled to a step's; not set: none",
    )
    warmup: int = Field(0, ge=0, description="steps in which the learning rate rises linearly")
    momentum: float = Field(0.9, ge=0, lt=1, description="of the gradients; of AdamW the first")
    weight_decay: float = Field(
        1e-6, ge=0, description="not for biases and normalisation, but for SGD's"
    )
    trust: float = Field(1e-3, gt=0, description="of LARS: a step's size relative to the weights")


class FrameSettings(Config):
    """Which frames are looked at."""

    short_side: int | None = Field(
        None, ge=16, description="frames are reduced to this short side; not set: as they are"
    )
    gaps: tuple[PositiveInt, ...] = Field(
        (1,), min_length=1, description="frames from a pair's first to its second"
    )
    seconds: tuple[PositiveFloat, ...] | None = Field(
        None, min_length=1, description="from a pair's first frame to its second; replaces gaps"
    )
    frame_rate: float | None = Field(
        None, gt=0, description="frames a second of films that don't say it, such as folders"
    )
    pairs: int = Field(
        50_000, ge=1, description="at most so many pairs, or images, spread over the target"
    )
    batch_size: int = Field(16, ge=1, description="pairs, or images, in a batch")


class PretrainSettings(Config):
    """Everything that decides what a pre-training run computes.

    A method makes `views` its own kind, and gives the tables other defaults where its paper does.
    """

    method: str = Field("flowe", description="a file of representation/methods")
    target: str | None = Field(None, description="not set: the target of the flow model")
    flow_model: str | None = Field(None, description="a path or a name; default: what is shipped")
    flow_iterations: int = Field(12, ge=1, description="updates of RAFT")
    flow_scale: float = Field(
        1.0, gt=0, le=1, description="size of the frames that flow is computed on, in their own"
    )
    collapse_below: float = Field(0.1, ge=0, le=1, description="spread that is warned of")
    cache_flow: bool = Field(True, description="compute the flow of a pair once, keep it on disk")
    name: str | None = Field(None, description="in the model store; not set: the method's")
    seed: int = Field(0, ge=0, description="of everything random")
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N")
    frames: FrameSettings = FrameSettings()
    views: ViewSize = ViewSize()
    encoder: EncoderSettings = EncoderSettings()
    heads: HeadSettings = HeadSettings()
    optimizer: OptimizerSettings = OptimizerSettings()
    probe: ProbeSettings = ProbeSettings()
    loop: LoopSettings = LoopSettings(clip=0.0)


# What is used in place of the defaults above, which are the papers', on each kind of device.
# A method adds its own, for its heads and its optimiser say.
DEVICE_DEFAULTS: dict[str, dict[str, Any]] = {
    "cpu": {
        "frames.short_side": 160,
        "frames.pairs": 2000,
        "frames.batch_size": 6,
        "views.height": 96,
        "views.width": 128,
        "encoder.architecture": "resnet18",
        "loop.steps": 400,
        "loop.log_every": 25,
        "loop.pictures_every": 100,
        "probe.every": 200,
        "probe.short_side": 160,
    },
    "cuda": {"loop.steps": 20000, "loop.precision": "bfloat16"},
}
