import itertools

import pytest
from studies import LENGTH, SPACE, made_up_population, made_up_study

from autoflow.search.report.lineage import ancestors, lineage_rows, schedule_rows
from autoflow.search.results import ranked
from autoflow.space import place

POPULATION = made_up_population(members=6, generations=4)
WINNER = ranked(POPULATION)[0]


def test_ancestors_lead_from_the_first_generation_to_the_winner() -> None:
    line = ancestors(WINNER, POPULATION)
    assert [trial.generation for trial in line] == [0, 1, 2, 3]
    assert line[-1] is WINNER
    for parent, child in itertools.pairwise(line):
        assert child.parent == parent.number


def test_who_copied_whom_is_told_of_every_turn() -> None:
    rows = lineage_rows(POPULATION, WINNER)
    assert len(rows) == len(POPULATION)
    by_trial = {row["trial"]: row for row in rows}
    for trial, row in zip(POPULATION, rows, strict=True):
        assert trial.key == f"member-{row['member']}-generation-{row['generation']}"
        if trial.parent is not None:
            source = by_trial[trial.parent]["member"]
            assert row["copied_member"] == (source if source != row["member"] else None)
    # A fifth of six members, which is one, copies in every generation.
    assert [sum(r["copied_member"] is not None for r in rows if r["generation"] == g)
            for g in range(4)] == [0, 1, 1, 1]  # fmt: skip
    assert [row["trial"] for row in rows if row["winner"]] == [
        trial.number for trial in ancestors(WINNER, POPULATION)
    ]


def test_the_schedule_is_what_the_winners_network_was_trained_with() -> None:
    rows = schedule_rows(POPULATION, WINNER, SPACE, LENGTH)
    assert len(rows) == 4 * len(SPACE)
    line = ancestors(WINNER, POPULATION)
    fog = [row for row in rows if row["parameter"] == "effects.fog"]
    values = [trial.parameters["effects.fog"] for trial in line]
    assert [row["value"] for row in fog] == values
    assert [row["from_step"] for row in fog] == [0, 90, 180, 270]
    assert [row["to_step"] for row in fog] == [90, 180, 270, 360]
    places = [place(SPACE["effects.fog"], value) for value in values]
    assert fog[0]["varied"] == pytest.approx(max(places) - min(places))
    varied = [row["varied"] for row in rows]
    assert varied == sorted(varied, reverse=True)


def test_a_search_that_is_no_population_has_no_lineage() -> None:
    trials = made_up_study(20)
    assert lineage_rows(trials, trials[0]) == []
    assert schedule_rows(trials, trials[0], SPACE, LENGTH) == []
    assert schedule_rows([], None, SPACE, LENGTH) == []
    first = made_up_population(members=3, generations=1)
    assert lineage_rows(first, first[0]) == []
