"""The trainings of the experiment: which there are, in which order, and how one is run."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from autoflow.search.objective import measure_each
from autoflow.search.pairs import TargetPairs
from autoflow.train import new_network, train_on_scenes
from benchmarks.evidence.pool import DEFAULT, FOUND, MIXED, pool, sets_named
from benchmarks.evidence.recipe import Recipe
from selfflow.models import load_network
from selfflow.raft import RAFT
from selfflow.runs.errors import DivergedError
from selfflow.runs.run import read_table, to_json, write_text

ANOTHER = "wide-1"  # the other set whose noise is measured
FOLDER = "trainings"


class OutOfTime(Exception):
    """The budget ended in the middle of a training, which is to be done again."""


@dataclass(frozen=True)
class Training:
    """One network: trained on the scenes of which set, from which start, with which seed."""

    sets: str
    start: Literal["short", "full"]
    seed: int

    @property
    def key(self) -> str:
        """Its name among all."""
        return f"{self.start}-{self.sets}-{self.seed}"

    def file(self, path: Path) -> Path:
        """Return where its outcome lies in a run folder."""
        return path / FOLDER / f"{self.key}.json"


def noise(recipe: Recipe) -> list[Training]:
    """Return the same sets with several seeds."""
    seeds = range(recipe.noise_seeds)
    return [Training(name, "short", seed) for seed in seeds for name in (DEFAULT, ANOTHER)]


def ranking(recipe: Recipe) -> list[Training]:
    """Return all sets of the pool, each with the same seed."""
    return [Training(name, "short", 0) for name in pool(recipe)]


def random_sets(recipe: Recipe) -> list[str]:
    """Return the names of the random sets in the comparison."""
    return [f"wide-{number}" for number in range(1, recipe.compared_random + 1)]


def comparison(recipe: Recipe) -> list[Training]:
    """Return the found set, the mixture, the default and random ones with several seeds."""
    names = [DEFAULT, FOUND, MIXED, *random_sets(recipe)]
    return [Training(n, "short", seed) for seed in range(recipe.compared_seeds) for n in names]


def references(recipe: Recipe) -> list[Training]:
    """Return sets of the pool, each trained from nothing, the default one with several seeds."""
    pooled = [Training(name, "full", 0) for name in pool(recipe)[: recipe.full.sets]]
    return [*pooled, *(Training(DEFAULT, "full", seed) for seed in range(1, recipe.compared_seeds))]


def train(
    training: Training,
    recipe: Recipe,
    path: Path,
    targets: Mapping[str, TargetPairs],
    device: torch.device,
    deadline: float,
) -> None:
    """Train one network, measure it and write the outcome; OutOfTime at the deadline.

    The first target is measured at every rung, the others after the last step. With one seed all
    sets see the same scenes' numbers, as a search's trials do. A training that diverges is an
    outcome too.
    """
    settings = recipe.short if training.start == "short" else recipe.full
    rungs = recipe.rungs if training.start == "short" else ()
    network = _start(training, recipe, device)
    measured: list[dict[str, Any]] = []

    def watch(step: int) -> None:
        if time.time() > deadline:
            raise OutOfTime
        last = step == settings.steps
        if last or step in rungs:
            for name, pairs in list(targets.items())[: None if last else 1]:
                each = measure_each(network, pairs, recipe.metric)
                values = {term: value.tolist() for term, value in each.items()}
                measured.append({"step": step, "target": name, "pairs": values})

    begun, failed = time.monotonic(), None
    try:
        train_on_scenes(
            network,
            sets_named(training.sets, recipe, path),
            settings.apply(recipe.training, trained=training.start == "short"),
            seed=training.seed,
            title=training.key,
            watch=watch,
        )
    except DivergedError as error:
        failed = str(error)
    outcome = {
        **asdict(training),
        "steps": settings.steps,
        "seconds": round(time.monotonic() - begun, 1),
        "failed": failed,
        "measured": measured,
    }
    write_text(training.file(path), to_json(outcome) + "\n")


def _start(training: Training, recipe: Recipe, device: torch.device) -> RAFT:
    if training.start == "short":
        return load_network(recipe.base)[0].to(device)
    return new_network(recipe.training.architecture, training.seed, device)


def done(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the outcomes in a run folder."""
    for file in sorted((path / FOLDER).glob("*.json")):
        yield read_table(file)
