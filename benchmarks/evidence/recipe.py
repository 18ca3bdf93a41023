"""What the experiment consists of: targets, sets, trainings, and how long they are."""

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from autoflow.search.objective import Metric
from autoflow.search.pairs import PairSettings
from autoflow.search.settings import Stage
from autoflow.train import CPU_TRAINING, SceneTraining
from selfflow.runs.config import Config, load


class MeasuredTarget(Config):
    """A target whose flow is known, and which of its pairs are measured."""

    name: str = Field("sample", description="of the target")
    pairs: PairSettings = PairSettings()


class Full(Stage):
    """The training of a network from nothing: what a set is worth in the end."""

    sets: int = Field(21, ge=0, description="of the pool that are trained so, the first ones")


class Recipe(Config):
    """Everything that the experiment depends on.

    Two trainings are told apart: a *short* one starts from a shared network, as a search's trials
    do; a *full* one starts from nothing, with the head start of `autoflow.matching`.
    """

    targets: tuple[MeasuredTarget, ...] = Field((), description="the first one is searched")
    base: str = Field("default-small", description="network that short trainings start from")
    training: SceneTraining = SceneTraining()
    short: Stage = Stage(steps=120, learning_rate=3e-4)
    rungs: tuple[int, ...] = Field((), description="steps of a short training at which Ω is taken")
    full: Full = Full(steps=300, learning_rate=6e-4)
    metric: Metric = Metric()
    near: int = Field(12, ge=1, description="sets around the default one")
    spread: float = Field(0.2, gt=0, le=1, description="of those, as a share of each range")
    wide: int = Field(12, ge=1, description="sets drawn evenly over all ranges")
    noise_seeds: int = Field(5, ge=2, description="of the default set and of a random one")
    compared_seeds: int = Field(3, ge=2, description="of each set in the comparison")
    compared_random: int = Field(3, ge=1, description="random sets in the comparison")
    trials: int = Field(14, ge=0, description="of the search; 0: the pool's best is what is found")
    trial: Stage = Stage(steps=100, learning_rate=3e-4)
    bracket: int = Field(8, ge=2, description="sets that successive halving compares at once")
    seed: int = Field(0, ge=0, description="of the pool and of the search")
    device: str = Field("cpu", description="where networks are trained")


_SMALL = {f"training.{name}": value for name, value in CPU_TRAINING.items()}

# Sizes are chosen so that a recipe is done in the time that it is meant for; what they cost in
# certainty is what the first part of the experiment measures.
RECIPES: Mapping[str, Mapping[str, Any]] = {
    "cpu": {
        **_SMALL,
        "training.optimisation.batch_size": 4,
        "targets": [
            {"name": "sample", "pairs": {"count": 12, "side": 128}},
            {"name": "middlebury", "pairs": {"count": 8, "side": 192}},
            {"name": "sintel", "pairs": {"count": 8, "side": 192}},
        ],
        "metric.iterations": 6,
        "metric.terms.charge_uncovered": True,
        "rungs": [30, 60, 120],
        "device": "cpu",
    },
    "gpu": {
        "training.architecture": "raft-small",
        "training.head_start.matching_steps": 1000,
        "training.head_start.easy": 0.1,
        "training.optimisation.crop": [256, 320],
        "training.optimisation.batch_size": 8,
        "training.optimisation.iterations": 8,
        "training.optimisation.loop.precision": "bfloat16",
        "targets": [
            {"name": "sample", "pairs": {"count": 46, "side": 160}},
            {"name": "middlebury", "pairs": {"count": 8, "side": 384}},
            {"name": "sintel", "pairs": {"count": 100, "side": 384}},
        ],
        "metric.terms.charge_uncovered": True,
        "short.steps": 1000,
        "rungs": [250, 500, 1000],
        "full.steps": 6000,
        "full.learning_rate": 4e-4,
        "full.sets": 41,
        "near": 20,
        "wide": 20,
        "compared_seeds": 5,
        "compared_random": 5,
        "trials": 40,
        "trial.steps": 1000,
        "device": "auto",
    },
}


def recipe(name: str, overrides: tuple[str, ...] = ()) -> Recipe:
    """Return a recipe by its name, "cpu" or "gpu"; `overrides` are dotted.key=value."""
    return load(Recipe, defaults=RECIPES[name], overrides=overrides)
