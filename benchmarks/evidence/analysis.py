"""The four questions, answered from the outcomes as tables: rows of plain values."""

import math
from collections.abc import Mapping, Sequence
from statistics import mean, median, stdev
from typing import Any

from scipy.stats import t as student

from autoflow.search.statistics import rank_correlation
from benchmarks.evidence.cost import Candidate, Way, expected, goal, halving
from benchmarks.evidence.outcomes import ERROR, OMEGA, TERMS, Outcomes
from benchmarks.evidence.pool import DEFAULT, FOUND, MIXED, pool
from benchmarks.evidence.recipe import Recipe
from benchmarks.evidence.trainings import (
    ANOTHER,
    Training,
    comparison,
    noise,
    random_sets,
    ranking,
    references,
)

Row = dict[str, Any]
Values = Mapping[str, float]
BALANCED = "omega_balanced"
SCORES = (OMEGA, BALANCED, *TERMS)
NEAR, FULL = "near", "all, full training"  # some of the sets, and other networks of all
RANDOM = "random"  # the median of the random sets
CONFIDENCE = 0.95


def pool_values(
    recipe: Recipe, outcomes: Outcomes, target: str, start: str = "short"
) -> dict[str, Values]:
    """Return what was measured of each set of the pool, seed 0, the balanced Ω included."""
    found: dict[str, Values] = {}
    for name in pool(recipe):
        values = outcomes.final(Training(name, start, 0), target)  # type: ignore[arg-type]
        if values is not None:
            found[name] = values
    return balanced(found, recipe)


def balanced(values: Mapping[str, Values], recipe: Recipe) -> dict[str, Values]:
    """Return the values with `omega_balanced`: each term divided by its spread over the sets."""
    terms = (_photometric(recipe), "smoothness", "distillation")
    if len(values) < 3:
        return dict(values)
    spreads = {term: stdev(each[term] for each in values.values()) for term in terms}
    return {
        name: {**each, BALANCED: sum(each[t] / s for t, s in spreads.items() if s > 0)}
        for name, each in values.items()
    }


def _photometric(recipe: Recipe) -> str:
    return "photometric_charged" if recipe.metric.terms.charge_uncovered else "photometric"


def noise_table(recipe: Recipe, outcomes: Outcomes) -> list[Row]:
    """Return, for each target and quantity, the spread over seeds beside that over sets.

    `over seeds` is the standard deviation for one set, `over sets` that of the pool, all of seed 0;
    `near` of the default set and those around it alone.
    """
    rows: list[Row] = []
    for target in (each.name for each in recipe.targets):
        sets = pool_values(recipe, outcomes, target)
        for quantity in (OMEGA, *TERMS, ERROR):
            row: Row = {"target": target, "quantity": quantity}
            for name in (DEFAULT, ANOTHER):
                seeds = [
                    outcomes.final(Training(name, "short", seed), target)
                    for seed in range(recipe.noise_seeds)
                ]
                known = [each[quantity] for each in seeds if each is not None]
                row |= {
                    f"{name}, seeds": len(known),
                    f"{name}, mean": mean(known) if known else None,
                    f"{name}, over seeds": _spread(known),
                }
            over = [each[quantity] for each in sets.values()]
            near = [each[quantity] for name, each in sets.items() if _is_near(name)]
            row |= {"sets": len(over), "over sets": _spread(over), "over near sets": _spread(near)}
            rows.append(row)
    return rows


def _spread(values: Sequence[float]) -> float | None:
    return stdev(values) if len(values) > 1 else None


def _is_near(name: str) -> bool:
    return name == DEFAULT or name.startswith("near")


def correlation_table(recipe: Recipe, outcomes: Outcomes) -> list[Row]:
    """Return Spearman's rho of each score with the error over the sets, per target.

    Over the whole pool, over the default and the near sets alone, and over the fully trained ones.
    """
    rows: list[Row] = []
    for target in (each.name for each in recipe.targets):
        short = pool_values(recipe, outcomes, target)
        groups = {
            "all": short,
            NEAR: {name: each for name, each in short.items() if _is_near(name)},
            FULL: pool_values(recipe, outcomes, target, "full"),
        }
        for group, values in groups.items():
            errors = [each[ERROR] for each in values.values()]
            for score in SCORES:
                scores = [each[score] for each in values.values() if score in each]
                row: Row = {"target": target, "sets": group, "score": score, "count": len(errors)}
                found = rank_correlation(scores, errors) if len(scores) == len(errors) else None
                if found is not None:
                    row |= {"rho": found.rho, "low": found.low, "high": found.high, "p": found.p}
                rows.append(row)
    return rows


def comparison_table(recipe: Recipe, outcomes: Outcomes) -> list[Row]:
    """Return the error of networks trained with each kind of set, per target.

    The error is the geometric mean over the pairs; `ratio` is to the default's with the same seed,
    with Student's interval over the seeds, of logarithms.
    """
    rows: list[Row] = []
    for target in (each.name for each in recipe.targets):
        by_name = {
            name: _errors(recipe, outcomes, target, sets)
            for name, sets in {
                DEFAULT: [DEFAULT],
                FOUND: [FOUND],
                MIXED: [MIXED],
                RANDOM: random_sets(recipe),
            }.items()
        }
        for name, errors in by_name.items():
            both = sorted(set(errors) & set(by_name[DEFAULT]))
            low, middle, high = interval([errors[s] - by_name[DEFAULT][s] for s in both])
            rows.append(
                {
                    "target": target,
                    "sets": name,
                    "seeds": len(errors),
                    "error": math.exp(mean(errors.values())) if errors else None,
                    "over seeds": _spread(list(errors.values())),
                    "ratio": _exp(middle),
                    "low": _exp(low),
                    "high": _exp(high),
                }
            )
    return rows


def _errors(
    recipe: Recipe, outcomes: Outcomes, target: str, sets: Sequence[str]
) -> dict[int, float]:
    """Return the log error by seed, the median of the sets where there are several."""
    found = {}
    for seed in range(recipe.compared_seeds):
        every = [outcomes.final(Training(name, "short", seed), target) for name in sets]
        known = [each[ERROR] for each in every if each is not None]
        if len(known) == len(sets):
            found[seed] = median(known)
    return found


def interval(values: Sequence[float]) -> tuple[float | None, float | None, float | None]:
    """Return the lower end, mean and upper end of Student's 95 % interval of the mean.

    The ends are None for fewer than two values or where all are the same, all for none.
    """
    if not values:
        return None, None, None
    middle, spread = mean(values), _spread(values)
    if not spread:
        return None, middle, None
    half = float(student.ppf((1 + CONFIDENCE) / 2, len(values) - 1)) * spread / len(values) ** 0.5
    return middle - half, middle, middle + half


def _exp(value: float | None) -> float | None:
    return None if value is None else math.exp(value)


def cost_table(recipe: Recipe, outcomes: Outcomes) -> list[Row]:
    """Return the expected steps to close the gap, for each way of searching.

    The gap is that from the default's reference to the best set's. Where no set is better than the
    default, it is that from the median random set's: what is found again at what cost by a search
    that does not know the default. Empty without full trainings of both.

    Steps of the whole network are counted, not those of the features' head start, which only full
    trainings have. The start's own full training is needed by all ways and not counted, and neither
    is the shared network, which was trained before.
    """
    table = _candidates(recipe, outcomes)
    default = table.pop(DEFAULT, None)
    references = {name: each.reference for name, each in table.items()}
    scattered = [value for name, value in references.items() if name.startswith("wide-")]
    if default is None or not scattered:
        return []
    best = min(references.values())
    start, name = default.reference, DEFAULT
    if best >= start:
        start, name = median(scattered), RANDOM
    reach = goal(start, table)
    if reach >= start:
        return []
    pruned = halving(recipe.bracket, recipe.rungs)
    ways = {
        "every set fully": Way(),
        "warm start": Way(recipe.bracket, pruned.steps[-1:], pruned.kept[-1:]),
        "warm start and pruning": pruned,
    }
    target = recipe.targets[0].name
    again = [
        outcomes.final(Training(DEFAULT, "full", seed), target)
        for seed in range(recipe.compared_seeds)
    ]
    costs = expected(table, reach, outcomes.steps["full"], ways, seed=recipe.seed)
    return [
        {
            "way": title,
            "steps": steps,
            "share": steps / costs["every set fully"],
            "sets": len(table),
            "reach the goal": sum(value <= reach for value in references.values()),
            "from": name,
            "start": start,
            "goal": reach,
            "best": best,
            "default": default.reference,
            "default, over seeds": _spread([each[OMEGA] for each in again if each is not None]),
        }
        for title, steps in costs.items()
    ]


def _candidates(recipe: Recipe, outcomes: Outcomes) -> dict[str, Candidate]:
    """Return the sets of the pool that were trained fully and shortly."""
    target = recipe.targets[0].name
    table: dict[str, Candidate] = {}
    for name in pool(recipe):
        full = outcomes.final(Training(name, "full", 0), target)
        rungs = {r: outcomes.at(Training(name, "short", 0), target, r) for r in recipe.rungs}
        short = {step: values[OMEGA] for step, values in rungs.items() if values is not None}
        if full is not None and len(short) == len(recipe.rungs):
            table[name] = Candidate(full[OMEGA], short)
    return table


def missing(recipe: Recipe, outcomes: Outcomes) -> dict[str, str]:
    """Return how much of the trainings of each part is there, of those parts that lack some."""
    there = {each.training.key for each in outcomes.every} | set(outcomes.failed)
    parts = {
        "noise": noise(recipe),
        "correlation": ranking(recipe),
        "comparison": comparison(recipe),
        "full trainings": references(recipe),
    }
    wanted = {name: {each.key for each in part} for name, part in parts.items()}
    return {
        name: f"{len(there & keys)} of {len(keys)} trainings"
        for name, keys in wanted.items()
        if keys - there
    }
