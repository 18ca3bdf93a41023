"""The settings of a search, and what they are by default on a CPU and on a GPU."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import optuna
from pydantic import Field, model_validator

from autoflow.objective import Metric
from autoflow.pairs import PairSettings
from autoflow.train import CPU_TRAINING, GPU_TRAINING, SceneTraining
from selfflow.runs.config import Config
from selfflow.runs.progress import Duration

RANDOM = "random"


class Stage(Config):
    """The length of one kind of training in a search."""

    steps: int = Field(1000, ge=1, description="of training")
    learning_rate: float = Field(4e-4, gt=0, description="peak")

    def apply(self, training: SceneTraining, *, trained: bool) -> SceneTraining:
        """Return the search's training with this length, for a network that is trained or not."""
        return training.lasting(self.steps, self.learning_rate, trained=trained)


class Base(Stage):
    """The network that trials start from."""

    init: str = Field("random", description="model that it starts from, or random weights")
    steps: int = Field(50_000, ge=0, description="of training; 0: init as it is")

    @model_validator(mode="after")
    def _check_trained(self) -> "Base":
        if self.steps == 0 and self.init == RANDOM:
            raise ValueError("base.steps is 0 and base.init random: the base network is untrained")
        return self


class Trials(Stage):
    """What a trial does."""

    start: Literal["shared", "scratch"] = Field(
        "shared", description="shared: from the base network; scratch: from an untrained one"
    )
    measurements: int = Field(4, ge=1, description="of Ω, evenly spaced; the last one counts")
    pruner: Literal["median", "halving", "none"] = Field(
        "median", description="which trials are given up after a measurement but the last"
    )

    def measured_at(self) -> list[int]:
        """Return after how many steps Ω is measured."""
        count = min(self.measurements, self.steps)
        return [self.steps * (i + 1) // count for i in range(count)]


class SearchSettings(Config):
    """Everything that a search depends on."""

    target: str = Field("sample", description="name or path of the video to learn for")
    name: str = Field("s-af", description="of the search, and of the network it ends with")
    hyperparameters: str = Field("default", description="file of trial 0, or default")
    only: tuple[str, ...] = Field((), description="search only these parameters or groups; (): all")
    trials: int = Field(100, ge=1, description="in all, those of earlier sessions included")
    workers: int = Field(1, ge=1, description="processes that run trials at the same time")
    budget: Duration | None = Field(None, description="seconds after which no trial is started")
    storage: str | None = Field(None, description="Optuna storage URL; none: SQLite in the run")
    startup: int = Field(16, ge=1, description="trials before TPE begins to propose")
    spread: float = Field(
        0.2, gt=0, le=1, description="of those around trial 0, as a share of each range"
    )
    seed: int = Field(0, ge=0, description="of everything random")
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N")
    data_root: Path | None = Field(None, description="where data sets lie")
    metric: Metric = Metric()
    pairs: PairSettings = PairSettings()
    training: SceneTraining = SceneTraining()
    base: Base = Base()
    trial: Trials = Trials(steps=5_000, learning_rate=1.25e-4)
    final: Stage = Stage(steps=200_000, learning_rate=4e-4)
    final_start: Literal["shared", "scratch"] = Field(
        "scratch", description="what the last training starts from; as in trial.start"
    )

    def made_for(self) -> dict[str, Any]:
        """Return what trials must have in common to be compared."""
        return self.model_dump(
            mode="json",
            include={
                "target",
                "hyperparameters",
                "only",
                "metric",
                "pairs",
                "training",
                "base",
                "trial",
            },
        )

    def make_pruner(self) -> optuna.pruners.BasePruner:
        """Return Optuna's pruner; the first trials are run to their end for comparison."""
        if self.trial.pruner == "median":
            return optuna.pruners.MedianPruner(n_startup_trials=4, n_min_trials=3)
        if self.trial.pruner == "halving":
            return optuna.pruners.SuccessiveHalvingPruner(
                min_resource=self.trial.measured_at()[0], reduction_factor=2
            )
        return optuna.pruners.NopPruner()


def _under(prefix: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{prefix}.{name}": value for name, value in values.items()}


# On a CPU a search is a matter of an hour, and its networks are small.
DEVICE_DEFAULTS: dict[str, dict[str, Any]] = {
    "cpu": {
        **_under("training", CPU_TRAINING),
        "trials": 24,
        "startup": 10,
        "metric.iterations": 6,
        # Networks of so few steps agree with themselves on few pixels; a term that looks only at
        # those would prefer a network that explains nothing.
        "metric.terms.charge_uncovered": True,
        "pairs.count": 24,
        "pairs.side": 128,
        "base.init": "default-small",
        "base.steps": 0,
        "trial.steps": 150,
        "trial.learning_rate": 2e-4,
        "trial.measurements": 3,
        "final.steps": 1500,
        "final.learning_rate": 2e-4,
        "final_start": "shared",
    },
    "cuda": _under("training", GPU_TRAINING),
}
