from collections.abc import Sequence
from dataclasses import replace

import pytest
from pages import Page
from studies import LENGTH, WEIGHTS, made_up_population, made_up_study, search_on

from autoflow.search.report.compare_page import comparison_charts, render_comparison, told
from autoflow.search.report.comparison import Side, compare, importance_rows
from autoflow.search.report.findings import find
from autoflow.search.report.spending import Part, own_steps
from autoflow.search.results import TrialResult, ranked
from selfflow.runs.config import flatten

SETTINGS = {
    **{f"metric.terms.{name}": value for name, value in flatten(WEIGHTS).items()},
    "metric.iterations": 12,
    "strategy": "tpe",
    "seed": 0,
    "device": "cpu",
}


def side(label: str, trials: Sequence[TrialResult], **changed: object) -> Side:
    settings = SETTINGS | {k: v for k, v in changed.items() if k in SETTINGS}
    search = {
        name: changed[name] for name in ("target", "metric", "weights", "parts") if name in changed
    }
    found = find(search_on(trials, **search))
    return Side(label, found, settings, str(changed.get("pairs", "list")), 50)


FIRST = side("one", made_up_study(40), parts=[Part("base network", 50, 100.0)])
SECOND = side("two", made_up_study(30, seed=1), seed=1)


def facts(found) -> dict[str, tuple[object, object]]:
    return {r["quantity"]: (r["first"], r["second"]) for r in found.tables["compare-facts"]}


def test_the_same_measure_is_compared_and_what_differs_is_told() -> None:
    found = compare(FIRST, SECOND)
    assert found.comparable
    assert not found.reweighted
    assert found.settings == [("seed", "0", "1")]
    told_of = facts(found)
    best = [ranked(each.found.search.trials)[0].omega for each in (FIRST, SECOND)]
    assert told_of["best Ω"] == tuple(best)
    assert told_of["trials ended"] == (40, 30)
    steps = [sum(own_steps(t, LENGTH) for t in s.found.search.trials) for s in (FIRST, SECOND)]
    assert told_of["steps of all trials"] == tuple(steps)


def test_cost_counts_the_base_network_and_all_trials() -> None:
    rows = compare(FIRST, SECOND).tables["compare-course"]
    mine = [row for row in rows if row["search"] == "one"]
    trials = FIRST.found.search.trials
    assert mine[0]["steps"] == 50 + LENGTH
    assert mine[0]["seconds"] == pytest.approx(100 + trials[0].seconds)
    assert mine[-1]["steps"] == 50 + sum(own_steps(trial, LENGTH) for trial in trials)
    assert mine[-1]["relative"] == pytest.approx(ranked(trials)[0].omega / trials[0].omega)


def test_the_cost_of_reaching_the_higher_of_both_bests() -> None:
    found = compare(FIRST, SECOND)
    level = max(each.best.omega for each in (FIRST, SECOND))
    reached = facts(found)["steps until the higher of the best Ω was reached"]
    for steps, each in zip(reached, (FIRST, SECOND), strict=True):
        spent = 50
        for trial in each.found.search.trials:
            spent += own_steps(trial, LENGTH)
            if trial.state == "complete" and trial.omega <= level:
                break
        assert steps == spent


def test_best_sets_are_compared_where_they_are_furthest_apart() -> None:
    found = compare(FIRST, SECOND)
    apart = [abs(c.places[0] - c.places[1]) for c in found.changes]
    assert apart == sorted(apart, reverse=True)
    name = found.changes[0].parameter.name
    if not name.endswith((".low", ".high")):
        best = [ranked(each.found.search.trials)[0].parameters[name] for each in (FIRST, SECOND)]
        assert found.changes[0].values == tuple(best)


def test_importances_stand_side_by_side() -> None:
    rows = importance_rows(FIRST.found, SECOND.found)
    by_name = {row["parameter"]: row for row in rows}
    for row in FIRST.found.tables["importance"]:
        assert by_name[row["parameter"]]["rho_first"] == row["rho"]
    strongest = [max(abs(r["rho_first"]), abs(r["rho_second"])) for r in rows]
    assert strongest == sorted(strongest, reverse=True)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"target": "davis"}, "the targets are sample and davis"),
        ({"pairs": "another"}, "they measured different lists of pairs"),
        ({"metric.iterations": 6}, "metric.iterations is 12 and 6"),
        (
            {"metric.terms.charge_uncovered": True},
            "metric.terms.charge_uncovered is False and True",
        ),
        ({"metric": "aepe"}, "the metrics are s-af and aepe"),
    ],
)
def test_other_measures_are_not_compared(changed: dict[str, object], said: str) -> None:
    found = compare(FIRST, side("two", made_up_study(30, seed=1), **changed))
    assert found.obstacles == [said]
    assert "steps until the higher of the best Ω was reached" not in facts(found)
    page = render_comparison(found)
    assert f"Ω of the two cannot be compared: {said}." in page
    assert "came to the lower Ω" not in page


def test_other_weights_are_made_up_for() -> None:
    other = WEIGHTS.model_copy(update={"smoothness": 9.0})
    trials = [
        replace(t, course=tuple(replace(m, omega=m.omega + 6.5 * m.smoothness) for m in t.course))
        for t in made_up_study(30, seed=1)
    ]
    changed = side("two", trials, weights=other, **{"metric.terms.smoothness": 9.0})
    found = compare(FIRST, changed)
    assert found.comparable
    assert found.reweighted
    assert facts(found)["best Ω"] == pytest.approx(facts(compare(FIRST, SECOND))["best Ω"])
    assert "made up\n  anew with those of one" in render_comparison(found)


def test_a_search_without_a_complete_trial_is_compared_as_far_as_it_goes() -> None:
    empty = side("two", [])
    found = compare(FIRST, empty)
    assert found.changes == []
    page = render_comparison(found)
    assert "Not both have a complete trial yet." in page
    assert comparison_charts(compare(empty, replace(empty, label="three"))) == {}


def test_a_population_is_compared_by_its_last_generation() -> None:
    population = side("two", made_up_population(4, 3))
    found = compare(FIRST, population)
    assert facts(found)["measured after steps"] == (LENGTH, 3 * LENGTH)


def test_the_page_is_one_file_and_says_who_came_lower() -> None:
    found = compare(FIRST, SECOND)
    page = render_comparison(found)
    parsed = Page(page)
    assert all(source.startswith("data:image/") for source in parsed.images)
    assert len(parsed.images) == 3
    assert set(parsed.links) == {
        f"tables/compare-{name}.csv" for name in ("facts", "course", "sets", "importance")
    }
    lower = min((FIRST, SECOND), key=lambda each: each.best.omega).label
    assert f"{lower} came to the lower Ω" in page
    assert set(found.tables) == {link[7:-4] for link in parsed.links}
    assert found.as_dict()["comparable"] is True


def test_what_neither_search_knows_is_left_out_of_the_page() -> None:
    few = side("few", made_up_study(3, labelled=False))
    unknown = compare(few, side("other", made_up_study(30, seed=1, labelled=False)))
    page, labelled = render_comparison(unknown, []), render_comparison(compare(FIRST, SECOND), [])
    assert "endpoint error of the best set" not in page
    assert "endpoint error of the best set" in labelled
    assert unknown.tables["compare-importance"] == []  # three trials tell nothing
    assert "What mattered in both" not in page
    assert "What mattered in both" in labelled


def test_facts_are_told_in_their_units() -> None:
    assert told("change", -0.051) == "−5.1\u00a0%"
    assert told("time of all workers, s", 90.0) == "1m 30s"
    assert told("best Ω", 1.23456) == "1.235"
    assert told("trials ended", 12) == "12"
    assert told("best Ω", None) == "–"
