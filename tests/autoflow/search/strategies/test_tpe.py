import time
from dataclasses import replace
from statistics import mean

import optuna
import pytest
from optuna.trial import TrialState
from synthetic import MIXED, add, inside, play, proposed, tilted_bowl, unit_space

from autoflow.search.strategies import Job
from autoflow.search.strategies.random import RandomSearch, anywhere
from autoflow.search.strategies.tpe import Tpe
from autoflow.space import defaults, near, place

RUNNING = TrialState.RUNNING
PLANE = unit_space(2)


def tpe(space=PLANE, startup: int = 5, seed: int = 0) -> Tpe:
    return Tpe(space, startup, 0.2, seed)


def evenly(study: optuna.Study, count: int, state: TrialState = TrialState.COMPLETE) -> None:
    """Store trials spread over the plane, with the bowl's Ω."""
    for number in range(count):
        point = anywhere(PLANE, 9, number)
        add(study, PLANE, Job(f"random-{number}", point), tilted_bowl(point), state)


def misses(study: optuna.Study, proposals: int = 16) -> float:
    """Return how far from the bowl's centre proposals are on average."""
    jobs = [proposed(tpe(seed=seed), study) for seed in range(proposals)]
    return mean(tilted_bowl(job.parameters) for job in jobs if job)


def test_the_default_set_comes_first_then_points_around_it_then_the_estimator() -> None:
    study = play(tpe(MIXED), MIXED, lambda p: float(p["even"]), 7)
    keys = [trial.user_attrs["key"] for trial in study.trials]
    assert keys == ["start-0", "start-1", "start-2", "start-3", "start-4", "tpe-5", "tpe-6"]
    assert study.trials[0].params == defaults(MIXED)
    assert [t.params for t in study.trials[1:5]] == [near(MIXED, 0.2, 0, n) for n in range(1, 5)]


def test_trials_that_failed_or_are_running_do_not_start_the_estimator() -> None:
    study = optuna.create_study()
    states = [TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, RUNNING]
    for number, state in enumerate(states):
        add(study, PLANE, Job(f"start-{number}", near(PLANE, 0.2, 0, number)), 1.0, state)
    assert proposed(tpe(startup=3), study) == Job("start-4", near(PLANE, 0.2, 0, 4))
    job = proposed(tpe(startup=2), study)
    assert job
    assert job.key == "tpe-4"


def test_it_finds_a_better_point_than_random_search() -> None:
    space = unit_space(4, default=0.8)
    found = {
        kind: mean(
            play(kind(seed), space, tilted_bowl, 32).best_value for seed in (0, 1000, 2000, 3000)
        )
        for kind in (lambda seed: tpe(space, seed=seed), lambda seed: RandomSearch(space, seed))
    }
    ours, theirs = found.values()
    assert ours < 0.5 * theirs


def test_it_learns_from_pruned_trials_alone() -> None:
    study, blind = optuna.create_study(), optuna.create_study()
    evenly(study, 40, TrialState.PRUNED)
    for number, trial in enumerate(study.trials):
        add(blind, PLANE, Job(f"random-{number}", trial.params), 1.0, TrialState.PRUNED)
    assert misses(study) < 0.25 * misses(blind)


def test_the_same_study_gives_the_same_job_and_is_left_as_it_is() -> None:
    study = optuna.create_study()
    evenly(study, 12)
    evenly(study, 1, RUNNING)
    before = study.get_trials()
    assert proposed(tpe(), study) == proposed(tpe(), study)
    assert study.get_trials() == before


def test_a_search_that_is_continued_proposes_what_it_would_have_proposed() -> None:
    whole = play(tpe(MIXED), MIXED, lambda p: float(p["ratio"]), 12)
    parts = play(tpe(MIXED), MIXED, lambda p: float(p["ratio"]), 8)
    # Its process is gone: failed without a reason.
    parts.add_trial(optuna.trial.create_trial(state=TrialState.FAIL, user_attrs={"key": "tpe-8"}))
    play(tpe(MIXED), MIXED, lambda p: float(p["ratio"]), 12 + 1, parts)
    assert [t.params for t in parts.trials if t.number != 8] == [t.params for t in whole.trials]


def test_other_seeds_propose_other_points() -> None:
    study = optuna.create_study()
    evenly(study, 12)
    assert proposed(tpe(seed=1), study) != proposed(tpe(seed=2), study)
    assert proposed(tpe(seed=2**40), study) is not None


def test_proposals_keep_away_from_points_that_are_being_tried() -> None:
    study, crowded = optuna.create_study(), optuna.create_study()
    evenly(study, 20)
    evenly(crowded, 20)
    best = study.best_params
    around = {name: replace(each, default=best[name]) for name, each in PLANE.items()}
    for number in range(20, 40):
        add(crowded, PLANE, Job(f"tpe-{number}", near(around, 0.1, 0, number)), None, RUNNING)

    def distance(study: optuna.Study) -> float:
        # The seed makes up for the number of trials, so that the sampler's is the same in both.
        jobs = [proposed(tpe(seed=100 + s - len(study.trials)), study) for s in range(12)]
        return mean(sum(abs(job.parameters[n] - best[n]) for n in best) for job in jobs)

    assert distance(crowded) > 1.2 * distance(study)


def test_two_proposals_without_a_result_between_differ() -> None:
    study = optuna.create_study()
    evenly(study, 10)
    first = proposed(tpe(), study)
    add(study, PLANE, first, None, RUNNING)
    second = proposed(tpe(), study)
    assert (first.key, second.key) == ("tpe-10", "tpe-11")
    assert first.parameters != second.parameters


def test_all_trials_inform_it_whatever_the_pruner() -> None:
    study = optuna.create_study()
    evenly(study, 20)
    plain = proposed(tpe(), study)
    study.pruner = optuna.pruners.HyperbandPruner(max_resource=9)
    assert proposed(tpe(), study) == plain


def test_whole_numbers_flags_and_ratios_stay_in_their_ranges() -> None:
    study = play(tpe(MIXED, 3), MIXED, lambda p: float(p["even"]) + p["doubled"], 30)
    assert all(inside(MIXED, trial.params) for trial in study.trials)
    assert place(MIXED["even"], study.best_params["even"]) < 0.1


@pytest.mark.slow
def test_a_proposal_after_a_thousand_trials_of_sixty_parameters_takes_a_moment() -> None:
    space = unit_space(60)
    study = optuna.create_study()
    for number in range(1000):
        add(study, space, Job(f"random-{number}", anywhere(space, 0, number)), float(number % 97))
    begun = time.process_time()
    assert proposed(tpe(space), study)
    assert time.process_time() - begun < 1.0
