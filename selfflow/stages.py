"""The stages of training by name: what each is asked for, and how it is prepared."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from selfflow import (
    finetuning,
    multiframe_config,
    multiframe_training,
    training,
    unsupervised_config,
)
from selfflow.runs.config import read_toml
from selfflow.runs.errors import UserError
from selfflow.runs.run import Run
from selfflow.stage_config import StageConfig

DEFAULT = "self-supervised"


class Stage(Protocol):
    """A training that is ready to begin; nothing has been written yet."""

    def estimate(self) -> list[str]:
        """Return lines for a person: what is used, and time and memory."""

    def run(self, run: Run) -> dict[str, Any]:
        """Train, or go on; store the network; return the results."""


class Preparation(Protocol):
    """What opens and checks everything that a stage needs."""

    def __call__(
        self, config: Any, data_root: Path | None = None, start: str | Path | None = None
    ) -> Stage:
        """Return the stage; raises UserError where something is missing.

        Args:
            config: resolved.
            data_root: where data sets lie.
            start: where the network that `config.init` names is read from, if not by that name,
                which may belong to another network by now.
        """


@dataclass(frozen=True)
class Kind:
    """A kind of stage.

    Attributes:
        config: class of its settings.
        device_defaults: settings by dotted key, for "cpu" and for "cuda".
        prepare: see `Preparation`.
    """

    config: type[StageConfig]
    device_defaults: Mapping[str, Mapping[str, Any]]
    prepare: Preparation


KINDS: Mapping[str, Kind] = {
    "self-supervised": Kind(
        unsupervised_config.UnsupervisedConfig,
        unsupervised_config.DEVICE_DEFAULTS,
        training.Training.prepare,
    ),
    "multiframe": Kind(
        multiframe_config.MultiframeConfig,
        multiframe_config.DEVICE_DEFAULTS,
        multiframe_training.MultiframeTraining.prepare,
    ),
    "supervised": Kind(
        finetuning.FineTuneConfig, finetuning.DEVICE_DEFAULTS, finetuning.FineTuning.prepare
    ),
}


def stage_of(recipe: Path | None) -> str:
    """Return the kind of stage that a recipe is for: its key `stage`, else the default."""
    return DEFAULT if recipe is None else str(read_toml(recipe).get("stage", DEFAULT))


def kind_named(name: str) -> Kind:
    """Return a kind of stage; UserError names those that are known."""
    if name not in KINDS:
        raise UserError(f"no stage {name!r}; known are {', '.join(KINDS)}")
    return KINDS[name]
