"""The settings of a search, and what they are by default on a CPU and on a GPU."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from autoflow.search.objective import Metric
from autoflow.search.pairs import PairSettings
from autoflow.search.storage import without_password
from autoflow.search.strategies.pbt import PbtSettings
from autoflow.train import CPU_TRAINING, GPU_TRAINING, SceneTraining
from selfflow.runs.config import Config
from selfflow.runs.progress import Duration

RANDOM = "random"
STRATEGIES = ("tpe", "pbt", "random", "cma-es")

_SHARED = {
    *(
        "target",
        "hyperparameters",
        "only",
        "metric",
        "calibration",
        "pairs",
        "training",
        "base",
        "trial",
    ),
    *("strategy", "pbt", "startup", "spread", "seed"),
}


Share = Annotated[float, Field(gt=0, le=1)]


@dataclass(frozen=True)
class Rung:
    """One fidelity of a trial: after how many steps, and on what, Ω is measured.

    Attributes:
        step: of the trial's own training.
        pairs: share of the target's pairs.
        side: share of their short side.
    """

    step: int
    pairs: float
    side: float


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
    rungs: tuple[Share, ...] = Field(
        (1 / 9, 1 / 3, 1.0),
        min_length=1,
        description="shares of the steps after which Ω is measured, up to 1",
    )
    rung_pairs: tuple[Share, ...] = Field(
        (0.25, 0.5, 1.0), description="share of the pairs that each rung measures; (): all"
    )
    rung_sides: tuple[Share, ...] = Field(
        (), description="share of the frames' side that each rung measures; (): all of it"
    )
    pruner: Literal["hyperband", "halving", "median", "none"] = Field(
        "hyperband", description="which trials are given up after a rung but the last"
    )
    keep: Literal["best", "all", "none"] = Field(
        "best", description="trials whose networks are kept: those of the best sets, all or none"
    )
    pictures: int = Field(
        4, ge=0, description="rendered pairs on a trial's sheet for optuna-dashboard; 0: no sheet"
    )

    @model_validator(mode="after")
    def _check_rungs(self) -> "Trials":
        if list(self.rungs) != sorted(set(self.rungs)):
            raise ValueError(f"trial.rungs {list(self.rungs)} do not rise")
        for name in ("rungs", "rung_pairs", "rung_sides"):
            shares = getattr(self, name) or self.rungs
            if len(shares) != len(self.rungs):
                counts = f"{len(shares)} shares for {len(self.rungs)} rungs"
                raise ValueError(f"trial.{name} has {counts}; give as many, or [] for all of them")
            if shares[-1] != 1:
                raise ValueError(f"trial.{name} ends in {shares[-1]:g}, not in 1")
        return self

    def ladder(self) -> tuple[Rung, ...]:
        """Return the rungs in order; of those that fall on the same step, the last one stays."""
        count = len(self.rungs)
        pairs, sides = self.rung_pairs or (1.0,) * count, self.rung_sides or (1.0,) * count
        steps = (max(1, round(share * self.steps)) for share in self.rungs)
        rungs = {s: Rung(s, p, q) for s, p, q in zip(steps, pairs, sides, strict=True)}
        return tuple(rungs.values())


class Calibration(Config):
    """The networks over which the terms of Ω are balanced, if `metric.weights` says so."""

    networks: int = Field(6, ge=3, description="on the default set and on points near it")
    share: Share = Field(1 / 9, description="of a trial's steps, that each is trained")


class SearchSettings(Config):
    """Everything that a search depends on."""

    target: str = Field("sample", description="name or path of the video to learn for")
    name: str = Field("s-af", description="of the search, and of the network it ends with")
    hyperparameters: str = Field("default", description="file of trial 0, or default")
    only: tuple[str, ...] = Field((), description="search only these parameters or groups; (): all")
    strategy: Literal["tpe", "pbt", "random", "cma-es"] = Field(
        "tpe", description="what proposes the next trial"
    )
    pbt: PbtSettings = PbtSettings()
    trials: int = Field(100, ge=1, description="in all, those of earlier sessions included")
    workers: int = Field(1, ge=1, description="processes that run trials at the same time")
    budget: Duration | None = Field(None, description="seconds after which it ends, all in all")
    storage: str | None = Field(None, description="Optuna storage URL; none: SQLite in the run")
    startup: int = Field(16, ge=1, description="trials before TPE begins to propose")
    spread: float = Field(
        0.2, gt=0, le=1, description="of those around trial 0, as a share of each range"
    )
    seed: int = Field(0, ge=0, description="of everything random")
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N")
    data_root: Path | None = Field(None, description="where data sets lie")
    metric: Metric = Metric()
    calibration: Calibration = Calibration()
    pairs: PairSettings = PairSettings()
    training: SceneTraining = SceneTraining()
    base: Base = Base()
    trial: Trials = Trials(steps=5_000, learning_rate=1.25e-4)
    final: Stage = Stage(steps=200_000, learning_rate=4e-4)
    final_start: Literal["shared", "scratch"] = Field(
        "scratch", description="what the last training starts from; as in trial.start"
    )

    def public(self) -> "SearchSettings":
        """Return them as others may read them, in a run folder: without the storage's password."""
        if self.storage is None:
            return self
        return self.model_copy(update={"storage": without_password(self.storage)})

    def made_for(self) -> dict[str, Any]:
        """Return what workers of one study have in common.

        Trials can be compared then, and whoever asks a strategy is told the same.
        """
        shared = self.model_dump(mode="json", include=_SHARED)
        for harmless in ("keep", "pictures"):
            del shared["trial"][harmless]
        return shared

    def ladder(self) -> tuple[Rung, ...]:
        """Return the rungs of a trial; a turn of a population, which is not pruned, has the last.

        Generations are compared after equally many steps, each of them one fidelity.
        """
        rungs = self.trial.ladder()
        return rungs[-1:] if self.strategy == "pbt" else rungs


def _under(prefix: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{prefix}.{name}": value for name, value in values.items()}


# On a CPU a search is a matter of an hour, and its networks are small.
DEVICE_DEFAULTS: dict[str, dict[str, Any]] = {
    "cpu": {
        **_under("training", CPU_TRAINING),
        "trials": 24,
        "startup": 10,
        "pbt.members": 6,
        "metric.iterations": 6,
        # Networks of so few steps agree with themselves on few pixels; a term that looks only at
        # those would prefer a network that explains nothing.
        "metric.terms.charge_uncovered": True,
        "calibration.share": 1 / 3,
        "pairs.count": 24,
        "pairs.side": 128,
        "base.init": "default-small",
        "base.steps": 0,
        "trial.steps": 150,
        "trial.learning_rate": 2e-4,
        "trial.rungs": (1 / 3, 2 / 3, 1.0),
        "trial.rung_pairs": (0.5, 0.5, 1.0),
        "final.steps": 1500,
        "final.learning_rate": 2e-4,
        "final_start": "shared",
    },
    "cuda": _under("training", GPU_TRAINING),
}
