import csv
import io
from dataclasses import replace

import optuna
import pytest
from known import made_up_trials
from optuna.trial import TrialState

from autoflow.results import REASON, agreement, measured_steps, ranked, read_trials, to_csv


def test_complete_trials_are_ranked_by_omega() -> None:
    trials = made_up_trials()
    order = ranked(trials)
    assert {trial.number for trial in order} == {0, 1, 3, 4, 6, 7}
    assert [trial.omega for trial in order] == sorted(trial.omega for trial in order)


def test_agreement_is_spearmans_rank_correlation() -> None:
    trials = made_up_trials()
    found = agreement(trials, 20)
    assert found is not None
    assert found.correlation == pytest.approx(1)
    assert found.trials == 6
    # Exchanging the errors of the best and the worst of six: ρ = 1 - 6 Σd² / (n (n² - 1)).
    order = ranked(trials)
    first, last = order[0], order[-1]

    def with_error_of(trial, other):
        course = (*trial.course[:-1], replace(trial.last, aepe=other.last.aepe))
        return replace(trial, course=course)

    changed = [with_error_of(first, last), *order[1:-1], with_error_of(last, first)]
    expected = 1 - 6 * (2 * 5**2) / (6 * 35)
    assert agreement(changed, 20).correlation == pytest.approx(expected)


def test_there_is_no_agreement_without_labels_or_with_two_trials() -> None:
    assert agreement(made_up_trials(labelled=False), 20) is None
    assert agreement(made_up_trials(2), 20) is None
    assert agreement(made_up_trials(), 15) is None


def test_pruned_trials_count_at_the_steps_that_they_reached() -> None:
    trials = made_up_trials()
    assert measured_steps(trials) == [10, 20]
    assert agreement(trials, 10).trials == 7


def test_csv_holds_every_trial_with_its_terms_and_parameters() -> None:
    trials = made_up_trials()
    rows = list(csv.DictReader(io.StringIO(to_csv(trials))))
    assert len(rows) == len(trials)
    assert float(rows[0]["omega"]) == trials[0].omega
    assert float(rows[3]["effects.fog"]) == trials[3].parameters["effects.fog"]
    assert rows[5]["reason"] == "NaN <in step> 3"
    assert rows[5]["omega"] == ""


def test_a_trial_that_ended_with_its_process_is_left_out() -> None:
    study = optuna.create_study()
    failed, cut_off = study.ask(), study.ask()
    failed.set_user_attr(REASON, "NaN")
    study.tell(failed, state=TrialState.FAIL)
    study.tell(cut_off, state=TrialState.FAIL)
    study.enqueue_trial({"x": 1.0})
    assert [trial.number for trial in read_trials(study)] == [failed.number]
