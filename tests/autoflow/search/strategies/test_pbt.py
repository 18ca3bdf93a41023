import math
from dataclasses import replace
from statistics import mean

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState
from pydantic import ValidationError
from synthetic import MIXED, add, inside, proposed, unit_space

from autoflow.search.strategies import Job
from autoflow.search.strategies.pbt import Pbt, PbtSettings, member_of
from autoflow.space import defaults, near, place
from selfflow.runs.errors import UserError

SPACE = unit_space(3)
RUNNING, PRUNED, FAIL = TrialState.RUNNING, TrialState.PRUNED, TrialState.FAIL


def pbt(space=SPACE, seed: int = 0, **changed: float) -> Pbt:
    return Pbt(space, PbtSettings(**({"members": 5} | changed)), 0.2, seed)


def generation(
    study: optuna.Study,
    omegas: list[float],
    states: dict[int, TrialState] | None = None,
    strategy: Pbt | None = None,
) -> dict[str, Job]:
    """Run a generation; Ω and state are those of the member. Return its jobs in their order."""
    strategy, jobs = strategy or pbt(), {}
    for _ in omegas:
        job = proposed(strategy, study)
        assert job
        member = member_of(job.key)
        state = (states or {}).get(member, TrialState.COMPLETE)
        omega = None if state in (RUNNING, FAIL) else omegas[member]
        add(study, strategy.space, job, omega, state, step=10 * (job.generation + 1))
        jobs[job.key] = job
    return jobs


def test_it_begins_with_the_default_set_and_points_around_it() -> None:
    jobs = list(generation(optuna.create_study(), [1.0] * 5).values())
    assert jobs[0] == Job("member-0-generation-0", defaults(SPACE))
    assert jobs[1:] == [
        Job(f"member-{m}-generation-0", near(SPACE, 0.2, 0, m)) for m in range(1, 5)
    ]


def test_a_key_says_whose_turn_it_is() -> None:
    assert member_of("member-12-generation-3") == 12


def test_the_worst_copies_the_best_and_the_others_go_on_best_first() -> None:
    study = optuna.create_study()
    first = generation(study, [0.3, 0.1, 0.5, 0.2, 0.4])
    second = generation(study, [0.0] * 5)
    assert [int(key.split("-")[1]) for key in second] == [1, 3, 0, 4, 2]
    for member in (0, 1, 3, 4):
        job = second[f"member-{member}-generation-1"]
        assert job.parameters == first[f"member-{member}-generation-0"].parameters
        assert (job.parent, job.generation) == (member, 1)
    worst = second["member-2-generation-1"]
    assert (worst.parent, worst.generation) == (1, 1)
    assert worst.parameters != first["member-1-generation-0"].parameters


def test_each_generation_follows_from_the_one_before() -> None:
    study = optuna.create_study()
    generation(study, [0.3, 0.1, 0.5, 0.2, 0.4])
    second = generation(study, [0.5, 0.4, 0.3, 0.2, 0.1])  # the worst of the first is third now
    third = generation(study, [1.0] * 5)
    numbers = {trial.user_attrs["key"]: trial.number for trial in study.trials}
    assert third["member-0-generation-2"].parent == numbers["member-4-generation-1"]
    for member in (1, 2, 3, 4):
        job = third[f"member-{member}-generation-2"]
        assert job.parent == numbers[f"member-{member}-generation-1"]
        assert job.parameters == second[f"member-{member}-generation-1"].parameters


def test_the_best_share_is_copied_by_the_worst_share() -> None:
    sources = set()
    for seed in range(8):
        study, strategy = optuna.create_study(), pbt(seed=seed, members=10)
        generation(study, [float(member) for member in range(10)], strategy=strategy)
        jobs = generation(study, [0.0] * 10, strategy=strategy)
        moved = {key: j.parent for key, j in jobs.items() if key.split("-")[1] != str(j.parent)}
        assert set(moved) == {"member-8-generation-1", "member-9-generation-1"}
        sources |= set(moved.values())
    assert sources == {0, 1}


def test_a_generation_waits_for_the_one_before() -> None:
    study = optuna.create_study()
    generation(study, [1.0] * 5, {3: RUNNING})
    assert proposed(pbt(), study) is None


def test_members_whose_trials_failed_or_were_pruned_copy_too() -> None:
    study = optuna.create_study()
    generation(study, [0.3, 0.0, 0.5, 0.2, 0.4], {1: PRUNED, 3: FAIL})
    jobs = generation(study, [0.0] * 5)
    parents = {int(key.split("-")[1]): job.parent for key, job in jobs.items()}
    # Two are out already, and the worst share is one of five.
    assert parents == {0: 0, 1: 0, 2: 2, 3: 0, 4: 4}


def test_a_generation_of_which_nothing_is_left_ends_the_search() -> None:
    study = optuna.create_study()
    generation(study, [0.0] * 5, dict.fromkeys(range(5), FAIL))
    with pytest.raises(UserError, match="no member"):
        proposed(pbt(), study)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_copies_stay_in_their_ranges(seed: int) -> None:
    study, strategy = optuna.create_study(), pbt(MIXED, seed, members=2, perturbation=1.0)
    for _ in range(3):
        jobs = generation(study, [0.0, 1.0], strategy=strategy)
        assert all(inside(MIXED, job.parameters) for job in jobs.values())


def copies(count: int = 30, **changed: float) -> list[Job]:
    """Return copies of the default set of the mixed space, by as many seeds."""
    found = []
    for seed in range(count):
        study, strategy = optuna.create_study(), pbt(MIXED, seed, members=2, **changed)
        generation(study, [0.0, 1.0], strategy=strategy)
        found.append(generation(study, [0.0, 1.0], strategy=strategy)["member-1-generation-1"])
    return found


def test_a_copied_hyperparameter_moves_by_a_share_of_its_range() -> None:
    for job in copies(redrawn=0.0, perturbation=0.1):
        for name in ("even", "ratio"):
            each = MIXED[name]
            distance = place(each, job.parameters[name]) - place(each, each.default)
            assert abs(distance) == pytest.approx(0.1)
        assert abs(job.parameters["whole"] - 2) == 1
        assert job.parameters["doubled"] in (3, 6)  # a tenth of six doublings around 4
        assert job.parameters["flag"] is False
    ups = [job.parameters["even"] > 0 for job in copies(redrawn=0.0)]
    assert 0.3 < mean(ups) < 0.7


def test_a_hyperparameter_that_is_zero_or_at_an_end_moves_too() -> None:
    space = unit_space(2, default=0.0) | {"whole": replace(MIXED["whole"], default=4)}
    study, strategy = optuna.create_study(), pbt(space, members=2, redrawn=0.0)
    generation(study, [0.0, 1.0], strategy=strategy)
    job = generation(study, [0.0, 1.0], strategy=strategy)["member-1-generation-1"]
    assert list(job.parameters.values()) == pytest.approx([0.1, 0.1, 3])


def test_the_redrawn_share_comes_from_the_points_around_the_default_set() -> None:
    space = unit_space(400)
    study, strategy = optuna.create_study(), pbt(space, members=2, redrawn=0.25)
    generation(study, [0.0, 1.0], strategy=strategy)
    job = generation(study, [0.0, 1.0], strategy=strategy)["member-1-generation-1"]
    fresh = near(space, 0.2, 0, 3)
    moved = {
        name for name, value in job.parameters.items() if abs(value - 0.5) != pytest.approx(0.1)
    }
    assert 70 < len(moved) < 130
    assert all(job.parameters[name] == fresh[name] for name in moved)


def test_the_same_study_gives_the_same_job_in_whatever_order_trials_ended() -> None:
    study = optuna.create_study()
    generation(study, [0.3, 0.1, 0.5, 0.2, 0.4])
    job = proposed(pbt(), study)
    assert job == proposed(pbt(), study)
    shuffled = optuna.create_study()
    shuffled.add_trials(study.trials[::-1])
    moved = proposed(pbt(), shuffled)
    assert moved
    assert (moved.key, moved.parameters, moved.parent) == (job.key, job.parameters, 3)


def test_a_turn_that_is_missing_from_a_generation_is_proposed_again() -> None:
    study, gap = optuna.create_study(), optuna.create_study()
    generation(study, [0.3, 0.1, 0.5, 0.2, 0.4])
    jobs = generation(study, [0.0] * 5)
    gap.add_trials([t for t in study.trials if t.user_attrs["key"] != "member-2-generation-1"])
    assert proposed(pbt(), gap) == jobs["member-2-generation-1"]


def learned(level: float, value: float) -> float:
    """Return what a network of that level becomes by a turn with that hyperparameter.

    What it learns best from moves from 0.9 to 0.1 while its level rises from 0 to 1.
    """
    return level + 0.1 * math.exp(-(((value - (0.9 - 0.8 * level)) / 0.15) ** 2))


def test_it_finds_a_schedule_that_no_fixed_value_is_as_good_as() -> None:
    turns, space = 16, unit_space(1)

    def trained(value: float) -> float:
        level = 0.0
        for _ in range(turns):
            level = learned(level, value)
        return level

    def best(seed: int) -> float:
        study, strategy, levels = optuna.create_study(), pbt(space, seed, members=8), {}
        for _ in range(8 * turns):
            job = proposed(strategy, study)
            before = 0.0 if job.parent is None else levels[job.parent]
            level = learned(before, job.parameters["x0"])
            levels[add(study, space, job, 1 - level, step=job.generation + 1)] = level
        return max(levels.values())

    fixed = max(trained(index / 200) for index in range(201))
    assert mean(best(seed) for seed in range(3)) > 1.4 * fixed


@pytest.mark.parametrize("wrong", [{"members": 1}, {"exploited": 0.6}, {"redrawn": 1.5}])
def test_impossible_populations_are_refused(wrong: dict) -> None:
    with pytest.raises(ValidationError):
        PbtSettings(**wrong)
