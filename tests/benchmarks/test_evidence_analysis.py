"""The four tables from made-up outcomes."""

import math
from itertools import pairwise
from statistics import median

import pytest

from benchmarks.evidence.analysis import (
    BALANCED,
    balanced,
    comparison_table,
    correlation_table,
    cost_table,
    interval,
    missing,
    noise_table,
)
from benchmarks.evidence.markdown import markdown
from benchmarks.evidence.outcomes import ERROR, OMEGA, Outcome, Outcomes
from benchmarks.evidence.picture import write_picture
from benchmarks.evidence.pool import pool
from benchmarks.evidence.recipe import recipe
from benchmarks.evidence.trainings import Training, comparison, noise, ranking, references

RECIPE = recipe(
    "cpu",
    (
        'targets=[{name="sample"}]',
        "near=3",
        "wide=3",
        "noise_seeds=3",
        "compared_seeds=3",
        "compared_random=3",
        "rungs=[60, 120]",
        "bracket=4",
        "full.sets=7",
    ),
)


def values(omega, error=1.0, smoothness=0.1, distillation=0.2):
    return {
        OMEGA: omega,
        "photometric": omega - 1,
        "photometric_charged": omega,
        "smoothness": smoothness,
        "distillation": distillation,
        ERROR: error,
    }


def outcomes(measured, failed=()):
    """Return outcomes of {(sets, start, seed, step): values}."""
    every = [
        Outcome(Training(sets, start, seed), step, "sample", each)
        for (sets, start, seed, step), each in measured.items()
    ]
    return Outcomes(every, {"short": 120, "full": 300}, failed, 0.0)


def rows_by(rows, *keys):
    return {tuple(row[key] for key in keys): row for row in rows}


def test_noise_is_the_deviation_over_seeds_beside_that_over_sets():
    measured = {("default", "short", seed, 120): values(3.0 + seed) for seed in range(3)}
    measured |= {("wide-1", "short", seed, 120): values(9.0) for seed in range(2)}
    measured |= {("near-1", "short", 0, 120): values(7.0)}
    row = rows_by(noise_table(RECIPE, outcomes(measured)), "quantity")[OMEGA,]
    assert (row["default, seeds"], row["default, mean"], row["default, over seeds"]) == (3, 4, 1)
    assert (row["wide-1, seeds"], row["wide-1, over seeds"]) == (2, 0)
    assert row["sets"] == 3
    assert row["over sets"] == pytest.approx(math.sqrt(28 / 3))  # of 3, 9 and 7
    assert row["over near sets"] == pytest.approx(math.sqrt(8))  # of 3 and 7


def test_correlation_over_the_pool_and_over_the_near_sets():
    near_falls = {"default": (2.0, 2.0), "near-1": (1.0, 3.0), "near-2": (3.0, 1.0)}
    wide_rises = {"near-3": (4.0, 0.0), "wide-1": (10.0, 10.0), "wide-2": (11.0, 11.0)}
    measured = {
        (name, "short", 0, 120): values(omega, error, smoothness=-error)
        for name, (omega, error) in (near_falls | wide_rises).items()
    }
    rows = rows_by(correlation_table(RECIPE, outcomes(measured)), "sets", "score")
    assert rows["near", OMEGA]["rho"] == pytest.approx(-1)
    assert rows["all", "smoothness"]["rho"] == pytest.approx(-1)
    every = rows["all", OMEGA]
    # Ranks 1 to 6 of Ω against 4, 3, 2, 1, 5, 6: 1 - 6 · 20 / (6 · 35).
    assert (every["count"], every["rho"]) == (6, pytest.approx(1 - 6 * 20 / 210))
    assert every["low"] <= every["rho"] <= every["high"]
    assert 0 < every["p"] <= 1
    assert rows["all, full training", OMEGA]["count"] == 0
    assert "rho" not in rows["all, full training", OMEGA]


def test_balanced_terms_have_the_same_spread():
    sets = {
        str(n): values(3.0 + n, smoothness=0.1 * n, distillation=7.0 + 0.01 * n) for n in range(4)
    }
    scores = [each[BALANCED] for each in balanced(sets, RECIPE).values()]
    steps = [after - before for before, after in pairwise(scores)]
    deviation = math.sqrt(5 / 3)  # of 0, 1, 2, 3
    assert steps == pytest.approx([3 / deviation] * 3)


def test_comparison_pairs_the_seeds_and_takes_the_median_of_the_random_sets():
    measured = {}
    for seed in range(3):
        errors = {"default": 0.0, "found": -0.1 - 0.01 * seed, "top-3": 0.2 * (seed - 1)}
        errors |= {"wide-1": 5.0, "wide-2": 1.0, "wide-3": -3.0}
        for name, error in errors.items():
            measured[name, "short", seed, 120] = values(3.0, error + seed)
    rows = rows_by(comparison_table(RECIPE, outcomes(measured)), "sets")
    assert rows["default",]["error"] == pytest.approx(math.exp(1))
    found = rows["found",]
    assert found["ratio"] == pytest.approx(math.exp(-0.11))
    half = 4.302653 * 0.01 / math.sqrt(3)
    assert math.log(found["low"]) == pytest.approx(-0.11 - half)
    assert math.log(found["high"]) == pytest.approx(-0.11 + half)
    assert rows["top-3",]["low"] < 1 < rows["top-3",]["high"]
    assert rows["random",]["ratio"] == pytest.approx(math.exp(1))


def test_comparison_of_what_is_missing_says_nothing():
    measured = {("default", "short", 0, 120): values(3.0), ("wide-1", "short", 0, 120): values(3.0)}
    rows = rows_by(comparison_table(RECIPE, outcomes(measured)), "sets")
    assert rows["default",]["seeds"] == 1
    assert [rows[name,]["error"] for name in ("found", "top-3", "random")] == [None] * 3


def test_interval():
    assert interval([]) == (None, None, None)
    assert interval([2.0]) == (None, 2.0, None)
    assert interval([1.0, 3.0]) == pytest.approx((2 - 12.7062, 2.0, 2 + 12.7062), rel=1e-4)


def test_cost_from_rungs_and_full_trainings():
    measured = {}
    for number, name in enumerate(pool(RECIPE)):
        measured[name, "full", 0, 300] = values(10.0 - number)
        for step in RECIPE.rungs:
            measured[name, "short", 0, step] = values(20.0 - number)
    measured["default", "full", 1, 300] = values(12.0)
    rows = rows_by(cost_table(RECIPE, outcomes(measured)), "way")
    fully, pruned = rows["every set fully",], rows["warm start and pruning",]
    assert (fully["default"], fully["best"], fully["sets"]) == (10.0, 4.0, 6)
    assert fully["default, over seeds"] == pytest.approx(math.sqrt(2))
    assert (fully["goal"], fully["reach the goal"]) == (pytest.approx(4.3), 1)
    assert fully["steps"] == pytest.approx(300 * 7 / 2, rel=0.05)
    # The best one is in the first group of four in two orders of three; else both of that group's
    # survivors are trained for nothing. Each group that is begun is ranked at both rungs.
    first = 4 * 60 + 2 * 60 + 300
    second = 4 * 60 + 2 * 60 + 2 * 300 + 2 * 60 + 2 * 60 + 300
    assert pruned["steps"] == pytest.approx((2 * first + second) / 3, rel=0.05)
    assert pruned["share"] == pytest.approx(pruned["steps"] / fully["steps"])


def test_where_no_set_beats_the_default_the_gap_is_from_the_median_random_set():
    measured = {}
    for number, name in enumerate(pool(RECIPE)):
        measured[name, "full", 0, 300] = values(10.0 + number)
        for step in RECIPE.rungs:
            measured[name, "short", 0, step] = values(20.0 + number)
    rows = rows_by(cost_table(RECIPE, outcomes(measured)), "way")
    fully = rows["every set fully",]
    scattered = [10.0 + n for n, name in enumerate(pool(RECIPE)) if name.startswith("wide-")]
    assert fully["from"] == "random"
    assert fully["start"] == median(scattered)
    assert fully["best"] == 11.0
    assert fully["goal"] == pytest.approx(fully["start"] - 0.95 * (fully["start"] - 11.0))


def test_no_cost_without_a_gap_or_without_trainings():
    assert cost_table(RECIPE, outcomes({})) == []
    measured = {}
    for name in pool(RECIPE):
        measured[name, "full", 0, 300] = values(10.0)
        for step in RECIPE.rungs:
            measured[name, "short", 0, step] = values(20.0)
    assert cost_table(RECIPE, outcomes(measured)) == []


def test_missing_counts_trainings_that_are_there_and_those_that_diverged():
    assert missing(RECIPE, outcomes({}))["noise"] == "0 of 6 trainings"
    every = [*noise(RECIPE), *ranking(RECIPE), *comparison(RECIPE), *references(RECIPE)]
    lost, *rest = every
    measured = {
        (each.sets, each.start, each.seed, RECIPE.short.steps): values(3.0)
        for each in rest
        if each != lost
    }
    assert set(missing(RECIPE, outcomes(measured))) == {"noise", "correlation", "comparison"}
    assert missing(RECIPE, outcomes(measured, failed=[lost.key])) == {}


def test_the_markdown_says_what_was_found_and_what_is_missing(tmp_path):
    measured = {}
    for seed in range(3):
        errors = {"default": 0.0, "found": -0.1, "top-3": 0.3 * (seed - 1)}
        errors |= {f"wide-{number}": 1.0 for number in (1, 2, 3)}
        for number, (name, error) in enumerate(errors.items()):
            each = values(3.0 + number, error + 0.001 * seed * (name != "default"))
            measured[name, "short", seed, 120] = each
    found = outcomes(measured)
    tables = {
        "noise": noise_table(RECIPE, found),
        "correlation": correlation_table(RECIPE, found),
        "comparison": comparison_table(RECIPE, found),
        "cost": cost_table(RECIPE, found),
    }
    text = markdown(RECIPE, tables, missing(RECIPE, found), found)
    lines = {line.split(" | ")[0].lstrip("| "): line for line in text.splitlines()}
    assert lines["the default set"] == "| the default set | 1.000 |"
    assert lines["the found set"].endswith("| 0.906 (0.90 to 0.91, better) |")
    assert lines["top-3 mixture"].endswith(", inconclusive) |")
    assert lines["random sets, median"].endswith(", worse) |")
    # Of four sets the default has the lowest of both, the others' errors are equal.
    assert lines["Ω, published weights"].endswith("| 0.77 [-1.00, 1.00], p = 0.500 |")
    for seed in range(3):
        measured["default", "short", seed, 120] = values(3.0, 0.1 * seed)
        measured["found", "short", seed, 120] = values(3.0, 0.1 * seed)
    tables["comparison"] = comparison_table(RECIPE, outcomes(measured))
    assert "(it is the default set)" in markdown(RECIPE, tables, {}, found)
    assert "Cost: not measured yet." in text
    assert "Not finished: noise: 6 of 6" not in text
    assert "full trainings: 0 of 9 trainings" in text
    write_picture(tmp_path / "evidence.png", RECIPE, found, tables)
    assert (tmp_path / "evidence.png").read_bytes().startswith(b"\x89PNG")
