import pytest
from studies import LENGTH, made_up_population, made_up_study

from autoflow.search.report.spending import (
    Part,
    course_rows,
    failure_rows,
    own_steps,
    part_rows,
    saved_seconds,
    saved_share,
    spending_rows,
)
from autoflow.search.results import TrialResult


def by_state(trials: list[TrialResult]) -> dict[str, dict[str, float]]:
    return {row["state"]: row for row in spending_rows(trials, LENGTH)}


def test_a_trial_spent_what_it_trained_itself_not_its_parents() -> None:
    population = made_up_population(members=4, generations=3)
    assert {own_steps(trial, LENGTH) for trial in population} == {LENGTH}
    assert by_state(population)["complete"]["steps"] == 12 * LENGTH
    assert own_steps(TrialResult(0, "failed", {}, (), 1.0, "NaN"), LENGTH) == 0


def test_steps_seconds_and_what_pruning_saved() -> None:
    trials = made_up_study(40)
    rows = by_state(trials)
    pruned = [trial for trial in trials if trial.state == "pruned"]
    assert sum(row["trials"] for row in rows.values()) == 40
    assert rows["complete"]["steps"] == rows["complete"]["trials"] * LENGTH
    saved = sum(LENGTH - trial.last.step for trial in pruned)
    assert rows["pruned"]["steps_saved"] == saved > 0
    done = sum(row["steps"] for row in rows.values())
    assert saved_share(list(rows.values())) == pytest.approx(saved / (saved + done))
    seconds = sum(trial.seconds for trial in trials)
    assert sum(row["seconds"] for row in rows.values()) == pytest.approx(seconds)
    assert saved_seconds(list(rows.values())) == pytest.approx(saved * seconds / done)


def test_nothing_is_saved_where_nothing_is_pruned() -> None:
    for trials in ([], made_up_population(2, 2)):
        rows = spending_rows(trials, LENGTH)
        assert saved_share(rows) == saved_seconds(rows) == 0


def test_the_course_adds_up_cost_and_keeps_the_best_complete_trial() -> None:
    trials = made_up_study(40)
    rows = course_rows(trials, LENGTH)
    assert rows[-1]["steps"] == sum(own_steps(trial, LENGTH) for trial in trials)
    assert rows[-1]["seconds"] == pytest.approx(sum(trial.seconds for trial in trials))
    for number, row in enumerate(rows):
        complete = [t.omega for t in trials[: number + 1] if t.state == "complete"]
        assert row["best"] == min(complete)
        assert row["best_step"] == LENGTH
    assert rows[7]["state"] == "failed"


def test_the_best_of_a_population_is_that_of_the_generation_reached() -> None:
    population = made_up_population(members=4, generations=3)
    rows = course_rows(population, LENGTH)
    assert [row["best_step"] for row in rows] == 4 * [90] + 4 * [180] + 4 * [270]
    assert rows[4]["best"] == population[4].omega
    assert rows[7]["best"] == min(trial.omega for trial in population[4:8])


def test_before_the_first_complete_trial_there_is_no_best() -> None:
    trials = made_up_study(20)[7:8]
    row = course_rows(trials, LENGTH)[0]
    assert (row["best"], row["best_step"]) == (None, None)


def test_failures_say_why_and_how_far() -> None:
    rows = failure_rows(made_up_study(30), LENGTH)
    assert [row["trial"] for row in rows] == [7, 22]
    assert rows[0]["reason"] == "Ω is not finite after 30 steps"
    assert rows[0]["steps"] == 10


def test_parts_that_took_no_steps_are_left_out() -> None:
    parts = [Part("base network", 0, 0.0), Part("training at the end", 60, 9.0)]
    assert part_rows(parts) == [{"part": "training at the end", "steps": 60, "seconds": 9.0}]
