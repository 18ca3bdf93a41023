"""Made-up studies of many trials, whose Ω depends on three hyperparameters and on nothing else."""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np

from autoflow.hyperparameters import Hyperparameters
from autoflow.search.objective import Measurement, weighted
from autoflow.search.report.findings import Search
from autoflow.search.results import TrialResult
from autoflow.search.strategies.pbt import Pbt, PbtSettings
from autoflow.space import Value, defaults, near, place, searched
from selfflow.objective import ObjectiveSettings

SPACE = searched(Hyperparameters())
LENGTH = 90
RUNGS = (10, 30, 90)
WEIGHTS = ObjectiveSettings()
# Fog and fast motion help, a strong shutter harms.
MATTERS = {"effects.fog": -0.6, "foreground.translation": -0.4, "effects.shutter": 0.3}


def level(parameters: dict[str, Value]) -> float:
    """How bad a set is, without noise."""
    return 1 + sum(w * place(SPACE[n], parameters[n]) for n, w in MATTERS.items())


def measured(step: int, bad: float, rng: np.random.Generator, labelled: bool) -> Measurement:
    """What is measured of a set after some steps; the first rungs are noisy."""
    reached = bad + 1.5 * math.exp(-step / 25)
    noise = 0.25 / math.sqrt(step)
    photometric = 1.5 + 0.4 * reached + noise * rng.normal()
    found = Measurement(
        step=step,
        omega=0.0,
        photometric=photometric,
        photometric_charged=photometric + 0.3,
        smoothness=0.03 + 0.01 * rng.random(),
        distillation=0.2 + 0.1 * reached + 0.02 * rng.normal(),
        covered=0.9 - 0.1 * reached + 0.02 * rng.normal(),
        aepe=1.5 * reached * math.exp(0.1 * rng.normal()) if labelled else None,
    )
    return replace(found, omega=weighted(found, WEIGHTS))


@cache
def made_up_study(count: int, *, labelled: bool = True, seed: int = 0) -> tuple[TrialResult, ...]:
    """Trials near the default set; the worse half is given up at each rung, every 15th failed."""
    rng = np.random.default_rng(seed)
    trials: list[TrialResult] = []
    for number in range(count):
        point = near(SPACE, 0.2, seed, number) if number else defaults(SPACE)
        course: list[Measurement] = []
        state, reason = "complete", ""
        doomed = number % 15 == 7
        for step in RUNGS:
            if doomed and step == RUNGS[1]:
                state, reason = "failed", f"Ω is not finite after {step} steps"
                break
            course.append(measured(step, level(point), rng, labelled))
            others = [m.omega for t in trials for m in t.course if m.step == step]
            if (
                number
                and not doomed
                and step < LENGTH
                and others
                and course[-1].omega > np.median(others)
            ):
                state, reason = "pruned", f"hopeless after {step} of {LENGTH} steps"
                break
        seconds = 0.2 * course[-1].step + 2 if course else 1.0
        key = f"start-{number}" if number < 16 else f"tpe-{number}"
        trials.append(TrialResult(number, state, point, tuple(course), seconds, reason, key))
    return tuple(trials)


@cache
def made_up_population(
    members: int = 6, generations: int = 5, *, labelled: bool = True, seed: int = 0
) -> tuple[TrialResult, ...]:
    """A population as the strategy proposes it; a network's level follows its sets in the mean."""
    rng = np.random.default_rng(seed)
    strategy = Pbt(SPACE, PbtSettings(members=members), 0.2, seed)
    trials: list[TrialResult] = []
    for number in range(members * generations):
        job = strategy.next(None, trials)  # type: ignore[arg-type]
        assert job is not None
        reached = LENGTH * (job.generation + 1)
        course = [
            measured(reached - LENGTH + step, level(dict(job.parameters)), rng, labelled)
            for step in RUNGS
        ]
        key, parent, generation = job.key, job.parent, job.generation
        point, told = job.parameters, tuple(course)
        trials.append(
            TrialResult(number, "complete", point, told, 20.0, "", key, parent, generation)
        )
    return tuple(trials)


def search_on(trials: Sequence[TrialResult], **changed: object) -> Search:
    """A search with these trials."""
    values = {
        "name": "s-af",
        "target": "sample",
        "metric": "s-af",
        "trials": trials,
        "space": SPACE,
        "wanted": len(trials),
        "length": LENGTH,
        "weights": WEIGHTS,
        "settings": {"seed": "0"},
    }
    return Search(**(values | changed))  # type: ignore[arg-type]
