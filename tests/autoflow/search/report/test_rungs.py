from dataclasses import replace

import pytest
from scipy.stats import spearmanr
from studies import LENGTH, RUNGS, made_up_population, made_up_study

from autoflow.search.report.rungs import (
    measured_at,
    measured_steps,
    prediction_points,
    predictions,
    telling_step,
    top_step,
)


def test_steps_and_what_was_measured_after_them() -> None:
    trials = made_up_study(40)
    assert measured_steps(trials) == list(RUNGS)
    counts = [len(measured_at(trials, step)) for step in RUNGS]
    assert counts[0] == 40
    assert counts[0] > counts[1] > counts[2]
    assert all(m.step == 30 and m in t.course for t, m in measured_at(trials, 30))


@pytest.mark.parametrize(
    ("count", "step"),
    [
        (200, 30),  # 200, 98, 43: a third are 67
        (60, 30),  # 60, 28, 15: twenty are enough
        (40, 10),  # 40, 18, 7
        (4, LENGTH),  # 4, 3, 3: half are enough of few
        (1, LENGTH),
    ],
)
def test_the_telling_step_is_the_last_one_with_enough_trials(count: int, step: int) -> None:
    assert telling_step(made_up_study(count)) == step


def test_without_pruning_it_is_the_last_step_and_of_a_population_the_last_full_one() -> None:
    complete = [trial for trial in made_up_study(200) if trial.state == "complete"]
    assert telling_step(complete) == LENGTH
    population = made_up_population(members=6, generations=5)
    assert telling_step(population) == 5 * LENGTH
    assert telling_step(population[:-1]) == 4 * LENGTH
    assert telling_step([]) is None


def test_the_top_needs_three_trials_and_is_the_last_generation_of_a_population() -> None:
    trials = made_up_study(60)
    assert top_step(trials) == LENGTH
    assert top_step(trials[:1]) is None
    population = made_up_population(members=4, generations=3)
    assert top_step(population) == 3 * LENGTH
    assert top_step(population[:-2]) == 2 * LENGTH


def test_predictions_are_spearmans_rho_over_the_trials_that_reached_the_top() -> None:
    trials = made_up_study(120)
    points = prediction_points(trials)
    rows = predictions(points)
    assert [row["step"] for row in rows] == [10, 30]
    there = [trial for trial in trials if trial.state == "complete"]
    for number, row in enumerate(rows):
        early = [trial.course[number].omega for trial in there]
        expected = spearmanr(early, [trial.omega for trial in there]).statistic
        assert row["rho"] == pytest.approx(expected)
        assert row["trials"] == len(there)
    # Noise falls with the steps: a later rung knows more.
    assert rows[0]["rho"] < rows[1]["rho"]


def test_a_generation_is_predicted_from_its_own_rungs_alone() -> None:
    rows = predictions(prediction_points(made_up_population(members=6, generations=3)))
    assert [row["step"] for row in rows] == [2 * LENGTH + 10, 2 * LENGTH + 30]
    assert {row["trials"] for row in rows} == {6}


def test_without_lower_rungs_or_complete_trials_there_is_nothing_to_predict() -> None:
    trials = made_up_study(60)
    assert prediction_points([replace(t, course=t.course[-1:]) for t in trials]) == []
    assert prediction_points([t for t in trials if t.state != "complete"]) == []
    assert predictions([]) == []
