from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import spearmanr
from studies import LENGTH, MATTERS, SPACE, made_up_population, made_up_study

from autoflow.search.report.importance import MANY, importances, slice_rows
from autoflow.search.report.rungs import measured_at


def test_what_matters_comes_first_and_beyond_the_level_of_chance() -> None:
    trials = made_up_study(90)
    rows = importances(trials, SPACE, 10)
    assert rows[0]["parameter"] == "effects.fog"
    assert abs(rows[0]["rho"]) > rows[0]["chance"]
    assert {rows[0]["parameter"], rows[1]["parameter"]} <= set(MATTERS)
    assert len(rows) == len(SPACE)
    there = measured_at(trials, 10)
    expected = spearmanr(
        [trial.parameters["effects.fog"] for trial, _ in there], [m.omega for _, m in there]
    )
    assert rows[0]["rho"] == pytest.approx(expected.statistic)
    assert rows[0]["trials"] == len(there) == 90


def shuffled(trials):
    """The trials with each other's measurements, which their parameters do not explain."""
    order = np.random.default_rng(0).permutation(len(trials))
    return [replace(t, course=trials[i].course) for t, i in zip(trials, order, strict=True)]


def test_what_does_not_matter_stays_below_the_level_of_chance() -> None:
    rows = importances(shuffled(made_up_study(60)), SPACE, 10)
    assert all(abs(row["rho"]) < row["chance"] for row in rows)
    assert "ped_anova" not in rows[0]


@pytest.mark.slow
def test_many_trials_have_a_model_based_importance_too() -> None:
    trials = made_up_study(2 * MANY)
    rows = importances(trials, SPACE, 10)
    assert sum(row["ped_anova"] for row in rows) == pytest.approx(1)
    strongest = max(rows, key=lambda row: row["ped_anova"])
    assert strongest["parameter"] in MATTERS
    assert strongest["ped_anova"] > strongest["ped_anova_chance"]
    rows = importances(shuffled(trials), SPACE, 10)
    assert all(row["ped_anova"] < row["ped_anova_chance"] for row in rows)


def test_there_is_no_importance_of_hardly_any_trials_or_equal_values() -> None:
    trials = made_up_study(8)
    assert importances(trials[:5], SPACE, 10) == []
    same = [replace(t, course=(replace(t.course[0], omega=1.0),)) for t in trials]
    assert importances(same, SPACE, 10) == []
    assert importances(trials, SPACE, 11) == []


def test_slices_show_every_trial_that_ended_also_those_without_a_value() -> None:
    trials = made_up_study(40)
    running = replace(trials[-1], number=40, state="running", course=())
    rows = slice_rows([*trials, running], ["effects.fog"], LENGTH)
    assert len(rows) == 40
    for row, trial in zip(rows, trials, strict=True):
        assert row["value"] == trial.parameters["effects.fog"]
        assert row["omega"] == (trial.omega if trial.state == "complete" else None)
    assert [row["default"] for row in rows] == [True] + 39 * [False]


def test_slices_of_a_population_show_one_generation() -> None:
    population = made_up_population(members=6, generations=3)
    rows = slice_rows(population, ["effects.fog"], 2 * LENGTH)
    assert [row["trial"] for row in rows] == list(range(6, 12))
