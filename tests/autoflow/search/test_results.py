from dataclasses import replace

import optuna
from known import made_up_trials
from optuna.trial import TrialState

from autoflow.search.results import REASON, ranked, read_trials


def test_complete_trials_are_ranked_by_omega() -> None:
    trials = made_up_trials()
    order = ranked(trials)
    assert {trial.number for trial in order} == {0, 1, 3, 4, 6, 7}
    assert [trial.omega for trial in order] == sorted(trial.omega for trial in order)


def test_only_trials_that_went_furthest_are_ranked() -> None:
    trials = made_up_trials()
    longer = replace(trials[1], course=(replace(trials[1].last, step=40, omega=99.0),))
    assert ranked([*trials[2:], longer]) == [longer]


def test_a_trial_that_ended_with_its_process_is_left_out() -> None:
    study = optuna.create_study()
    failed, cut_off = study.ask(), study.ask()
    failed.set_user_attr(REASON, "NaN")
    study.tell(failed, state=TrialState.FAIL)
    study.tell(cut_off, state=TrialState.FAIL)
    study.enqueue_trial({"x": 1.0})
    assert [trial.number for trial in read_trials(study)] == [failed.number]
