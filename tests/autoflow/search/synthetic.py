"""Cheap objectives for strategies: trials whose Ω is a function of their parameters."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from itertools import pairwise

import optuna
from optuna.trial import TrialState

from autoflow.search.objective import Measurement
from autoflow.search.results import GENERATION, KEY, MEASUREMENTS, PARENT, REASON, read_trials
from autoflow.search.strategies import Job, Strategy
from autoflow.space import Value, distributions, place
from selfflow.runs.parameter import Parameter

Space = Mapping[str, Parameter]

# One of each kind: evenly and logarithmically spaced, whole, true or false.
MIXED: Space = {
    each.name: each
    for each in (
        Parameter("even", 0.0, -1.0, 3.0, "", "", False, float),
        Parameter("ratio", 0.01, 0.001, 10.0, "", "", True, float),
        Parameter("whole", 2, 1, 4, "", "", False, int),
        Parameter("doubled", 4, 1, 64, "", "", True, int),
        Parameter("flag", False, 0, 1, "", "", False, bool),
    )
}


def unit_space(count: int, default: float = 0.5) -> Space:
    names = [f"x{index}" for index in range(count)]
    return {name: Parameter(name, default, 0.0, 1.0, "", "", False, float) for name in names}


def tilted_bowl(parameters: Mapping[str, Value]) -> float:
    """A quadratic whose neighbouring parameters interact; least, 0, at 0.3."""
    x = [float(value) - 0.3 for value in parameters.values()]
    return sum(a * a for a in x) + sum(a * b for a, b in pairwise(x))


def add(
    study: optuna.Study,
    space: Space,
    job: Job,
    omega: float | None = None,
    state: TrialState = TrialState.COMPLETE,
    step: int = 1,
) -> int:
    """Store a job as a trial, measured once if `omega` is given; return its number."""
    measured = {f.name: 0.0 for f in fields(Measurement)} | {"omega": omega, "step": step}
    trial = optuna.trial.create_trial(
        state=state,
        value=omega if state == TrialState.COMPLETE else None,
        params=dict(job.parameters),
        distributions=distributions(space),
        intermediate_values={} if omega is None else {step: omega},
        user_attrs={
            KEY: job.key,
            PARENT: job.parent,
            GENERATION: job.generation,
            REASON: "",
        },
        system_attrs={MEASUREMENTS: [] if omega is None else [measured]},
    )
    study.add_trial(trial)
    return len(study.get_trials(deepcopy=False)) - 1


def proposed(strategy: Strategy, study: optuna.Study) -> Job | None:
    return strategy.next(study, read_trials(study))


def play(
    strategy: Strategy,
    space: Space,
    objective: Callable[[Mapping[str, Value]], float],
    trials: int,
    study: optuna.Study | None = None,
) -> optuna.Study:
    """Run trials one after the other until the study has so many."""
    study = study or optuna.create_study()
    while len(study.get_trials(deepcopy=False)) < trials:
        job = proposed(strategy, study)
        assert job is not None
        add(study, space, job, objective(job.parameters))
    return study


def inside(space: Space, parameters: Mapping[str, Value]) -> bool:
    return parameters.keys() == space.keys() and all(
        type(parameters[name]) is each.kind and 0 <= place(each, parameters[name]) <= 1
        for name, each in space.items()
    )
