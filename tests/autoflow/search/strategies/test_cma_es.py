import sys
from statistics import mean

import numpy as np
import optuna
import pytest
from cmaes import CMA
from optuna.trial import TrialState
from synthetic import MIXED, add, inside, play, proposed, tilted_bowl, unit_space

from autoflow.search.strategies import Strategy
from autoflow.search.strategies.cma_es import CmaEs
from autoflow.search.strategies.random import RandomSearch
from autoflow.space import defaults
from selfflow.runs.errors import UserError

SPACE = unit_space(4, default=0.7)
SIZE = 8  # of a generation in four dimensions: 4 + 3 ln 4


def cma_es(space=SPACE, seed: int = 0) -> CmaEs:
    return CmaEs(space, 0.2, seed)


def generation(study: optuna.Study, omegas: list[float], states: dict | None = None) -> None:
    """Run the default set and one generation with these Ω, in these states."""
    add(study, SPACE, proposed(cma_es(), study), 1.0)
    for index, omega in enumerate(omegas):
        state, step = (states or {}).get(index, (TrialState.COMPLETE, 10))
        measured = None if state == TrialState.FAIL else omega
        add(study, SPACE, proposed(cma_es(), study), measured, state, step)


def test_it_proposes_what_the_package_proposes_for_the_same_values() -> None:
    study = play(cma_es(), SPACE, tilted_bowl, 1 + 3 * SIZE)
    twin = CMA(mean=np.full(4, 0.7), sigma=0.2, seed=0)
    assert study.trials[0].params == defaults(SPACE)
    trials = iter(study.trials[1:])
    for number in range(3):
        solutions = []
        for index in range(twin.population_size):
            x, trial = twin.ask(), next(trials)
            assert trial.user_attrs["key"] == f"cma-es-{number}-{index}"
            mirrored = np.abs((x + 1) % 2 - 1)  # no draw is more than one range outside
            np.testing.assert_allclose(list(trial.params.values()), mirrored, atol=1e-12)
            solutions.append((x, trial.value))
        twin.tell(solutions)


def test_it_finds_a_better_point_than_random_search() -> None:
    space, trials = unit_space(8), 1 + 7 * 10

    def found(strategy: Strategy) -> float:
        return play(strategy, space, tilted_bowl, trials).best_value

    ours = mean(found(cma_es(space, seed)) for seed in range(3))
    theirs = mean(found(RandomSearch(space, seed)) for seed in range(3))
    assert ours < 0.5 * theirs


def test_pruned_trials_rank_below_complete_ones_and_failed_ones_last() -> None:
    mixed, plain = optuna.create_study(), optuna.create_study()
    pruned, failed = TrialState.PRUNED, TrialState.FAIL
    states = {1: (pruned, 2), 3: (pruned, 5), 4: (pruned, 5), 6: (failed, 0)}
    generation(mixed, [0.4, 0.01, 0.3, 0.2, 0.1, 0.5, 0.0, 0.6], states)
    # The same order, all complete: 2, 0, 5, 7, then 4, 3 (after 5 steps), 1 (after 2), 6.
    generation(plain, [2.0, 7.0, 1.0, 6.0, 5.0, 3.0, 8.0, 4.0])
    assert proposed(cma_es(), mixed) == proposed(cma_es(), plain)


def test_a_generation_waits_for_the_one_before() -> None:
    study = optuna.create_study()
    for _ in range(1 + SIZE):
        job = proposed(cma_es(), study)
        state = TrialState.RUNNING if job.key == "cma-es-0-2" else TrialState.COMPLETE
        add(study, SPACE, job, tilted_bowl(job.parameters), state)
    assert proposed(cma_es(), study) is None


def test_the_order_in_which_a_generation_ends_does_not_matter() -> None:
    study = play(cma_es(), SPACE, tilted_bowl, 1 + SIZE)
    shuffled = optuna.create_study()
    shuffled.add_trials([study.trials[0], *reversed(study.trials[1:])])
    assert proposed(cma_es(), shuffled) == proposed(cma_es(), study)


def test_a_job_that_is_missing_from_a_generation_is_proposed_again() -> None:
    study = play(cma_es(), SPACE, tilted_bowl, 1 + SIZE)
    gap = optuna.create_study()
    gap.add_trials([trial for trial in study.trials if trial.number != 3])
    job = proposed(cma_es(), gap)
    assert job
    assert job.key == "cma-es-0-2"
    assert job.parameters == study.trials[3].params


def test_it_learns_from_where_a_trial_was_if_another_machine_proposed_it_elsewhere() -> None:
    study, moved = optuna.create_study(), optuna.create_study()
    add(study, SPACE, proposed(cma_es(), study), 1.0)
    add(moved, SPACE, proposed(cma_es(), moved), 1.0)
    for index in range(SIZE):
        job = proposed(cma_es(), study)
        add(study, SPACE, job, float(index))
        twin = proposed(cma_es(), moved)
        shifted = {name: min(1.0, value + 0.25) for name, value in twin.parameters.items()}
        point = shifted if index == 0 else twin.parameters
        add(moved, SPACE, type(twin)(twin.key, point), float(index))
    here, there = proposed(cma_es(), study), proposed(cma_es(), moved)
    assert sum(there.parameters.values()) > sum(here.parameters.values())


def test_whole_numbers_flags_and_ratios_stay_in_their_ranges() -> None:
    study = play(cma_es(MIXED), MIXED, lambda p: float(p["even"]) + p["doubled"], 40)
    assert all(inside(MIXED, trial.params) for trial in study.trials)
    assert study.best_params["doubled"] < 4
    assert study.best_params["even"] < -0.5


def test_a_space_of_one_parameter_is_searched_too() -> None:
    study = play(cma_es(unit_space(1, 0.9)), unit_space(1, 0.9), tilted_bowl, 30)
    assert study.best_value < 0.01


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cmaes", None)
    with pytest.raises(UserError, match=r"selfflow\[cmaes\]"):
        cma_es()
