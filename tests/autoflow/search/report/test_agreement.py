from dataclasses import replace

import pytest
from known import made_up_trials
from studies import WEIGHTS, made_up_study

from autoflow.search.objective import TERMS
from autoflow.search.report.agreement import SCORES, TOGETHER, agreement_points, agreements, scores


def row_of(rows, step: int, score: str = TOGETHER):
    return next(row for row in rows if (row["step"], row["score"]) == (step, score))


def test_scores_are_the_weighted_sum_and_its_terms() -> None:
    measured = made_up_study(1)[0].course[0]
    found = scores(measured, WEIGHTS)
    by_hand = measured.photometric + 2.5 * measured.smoothness + 0.3 * measured.distillation
    assert found[TOGETHER] == pytest.approx(by_hand)
    assert found["photometric"] == measured.photometric
    charged = scores(measured, WEIGHTS.model_copy(update={"charge_uncovered": True}))
    assert charged["photometric"] == measured.photometric_charged
    assert charged[TOGETHER] == pytest.approx(by_hand + 0.3)


def test_agreement_is_spearmans_rho() -> None:
    """Orders that agree; and with the errors of the best and the worst of six exchanged:

    ρ = 1 - 6 Σd² / (n (n² - 1)).
    """
    trials = sorted(
        (t for t in made_up_trials() if t.state == "complete"), key=lambda t: t.last.photometric
    )
    assert row_of(agreements(trials, WEIGHTS), 20)["rho"] == pytest.approx(1)
    first, last = trials[0], trials[-1]

    def with_error_of(trial, other):
        course = (*trial.course[:-1], replace(trial.last, aepe=other.last.aepe))
        return replace(trial, course=course)

    changed = [with_error_of(first, last), *trials[1:-1], with_error_of(last, first)]
    expected = 1 - 6 * (2 * 5**2) / (6 * 35)
    assert row_of(agreements(changed, WEIGHTS), 20)["rho"] == pytest.approx(expected)


def test_each_term_is_tried_alone_at_each_rung() -> None:
    trials = made_up_study(60)
    rows = agreements(trials, WEIGHTS)
    assert [(row["step"], row["score"]) for row in rows] == [
        (step, score) for step in (10, 30, 90) for score in SCORES
    ]
    # Smoothness of these studies is noise; the others follow the level of the set.
    assert row_of(rows, 10)["rho"] > row_of(rows, 10, "smoothness")["rho"]
    assert row_of(rows, 10, "smoothness")["low"] < 0 < row_of(rows, 10, "smoothness")["high"]
    assert set(SCORES) == {TOGETHER, *TERMS}


def test_pruned_trials_count_at_the_steps_that_they_reached() -> None:
    rows = agreements(made_up_trials(), WEIGHTS)
    assert row_of(rows, 10)["trials"] == 7
    assert row_of(rows, 20)["trials"] == 6


def test_there_is_no_agreement_without_labels_or_with_two_trials() -> None:
    assert agreements(made_up_trials(labelled=False), WEIGHTS) == []
    assert agreement_points(made_up_trials(labelled=False), 20, WEIGHTS) == []
    assert agreements(made_up_trials(2), WEIGHTS) == []
