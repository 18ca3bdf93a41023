"""Two searches side by side: what they found, at what cost, and where they differ."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from autoflow.search.objective import TERMS
from autoflow.search.report.changes import Change, in_order
from autoflow.search.report.findings import Findings, find
from autoflow.search.report.reweighting import formula, reweighted
from autoflow.search.report.spending import BASE_NETWORK, course_rows, saved_share
from autoflow.search.report.tables import Row
from autoflow.search.results import TrialResult

# What makes two lists of measurements the same measure, beside target and pairs.
_MEASURING = ("metric.iterations", "metric.terms.")
_WEIGHTS = tuple(f"metric.terms.{term}" for term in TERMS)
# Of no interest where two searches are compared.
_UNTOLD = ("data_root", "name", "device", "storage")


@dataclass(frozen=True)
class Side:
    """One of two searches.

    Attributes:
        label: what it is called here.
        found: what there is to say of it.
        settings: all of them, by dotted key.
        pairs: a name of the list of pairs; the same list has the same name.
        base_steps: that its shared network was trained for in this search.
    """

    label: str
    found: Findings
    settings: Mapping[str, Any]
    pairs: str
    base_steps: int = 0

    @property
    def best(self) -> TrialResult | None:
        """The best trial, None where none is complete."""
        return self.found.order[0] if self.found.order else None


@dataclass(frozen=True)
class Comparison:
    """Two searches with what follows from both.

    Attributes:
        first: as it is.
        second: with the first one's weights of Ω, where it had others.
        obstacles: why Ω of the two cannot be compared; empty where it can.
        reweighted: whether the second one's Ω was made up anew.
        settings: key and both values of all settings that differ.
        changes: how the best sets differ, the hyperparameter in which they are furthest apart
            first; empty where one of them is missing.
        tables: rows by the table's name.
    """

    first: Side
    second: Side
    obstacles: Sequence[str]
    reweighted: bool
    settings: Sequence[tuple[str, str, str]]
    changes: Sequence[Change]
    tables: Mapping[str, list[Row]]

    @property
    def comparable(self) -> bool:
        """Whether a lower Ω of one search means better flow than a higher one of the other."""
        return not self.obstacles

    def as_dict(self) -> dict[str, Any]:
        """Return the comparison for JSON."""
        return {
            "first": self.first.label,
            "second": self.second.label,
            "comparable": self.comparable,
            "obstacles": list(self.obstacles),
            "reweighted": self.reweighted,
            "facts": self.tables["compare-facts"],
            "importance": self.tables["compare-importance"],
            "best_sets": self.tables["compare-sets"],
            "settings": [
                {"setting": key, "first": one, "second": other} for key, one, other in self.settings
            ],
        }


def compare(first: Side, second: Side) -> Comparison:
    """Return two searches side by side.

    Ω of both is compared where it is the same measure: the same pairs of the same target, measured
    in the same way. If only the weights differ, that of the second is made up anew from its raw
    terms.
    """
    obstacles = _obstacles(first, second)
    changed = not obstacles and _weights(first) != _weights(second)
    if changed:
        second = _measured_as(first, second)
    sets = _changes(first, second)
    tables = {
        "compare-facts": fact_rows(first, second, comparable=not obstacles),
        "compare-course": [*_course(first), *_course(second)],
        "compare-importance": importance_rows(first.found, second.found),
        "compare-sets": [change.as_row() for change in sets],
    }
    differing = _differing(first.settings, second.settings)
    return Comparison(first, second, obstacles, changed, differing, sets, tables)


def fact_rows(first: Side, second: Side, *, comparable: bool) -> list[Row]:
    """Return what is to be said of both, a row for each quantity; None where it is not known."""
    found = [_facts(side) for side in (first, second)]
    if comparable and all(side.best for side in (first, second)):
        level = max(side.best.omega for side in (first, second) if side.best)
        for side, facts in zip((first, second), found, strict=True):
            facts["steps until the higher of the best Ω was reached"] = _steps_to(side, level)
    return [
        {"quantity": name, "first": found[0].get(name), "second": found[1].get(name)}
        for name in found[0]
    ]


def importance_rows(first: Findings, second: Findings) -> list[Row]:
    """Return the rank correlations of both searches, the strongest of either first.

    None where one of them has too few trials to tell.
    """
    by_name = [{r["parameter"]: r for r in each.tables["importance"]} for each in (first, second)]
    if not all(by_name):
        return []
    names = dict.fromkeys([*by_name[0], *by_name[1]])
    rows = [
        {
            "parameter": name,
            **{
                f"{column}_{side}": rows[name][column] if name in rows else None
                for side, rows in zip(("first", "second"), by_name, strict=True)
                for column in ("rho", "chance", "trials")
            },
        }
        for name in names
    ]
    return sorted(rows, key=lambda r: -max(abs(r["rho_first"] or 0), abs(r["rho_second"] or 0)))


def _obstacles(first: Side, second: Side) -> list[str]:
    found = []
    targets = [side.found.search.target for side in (first, second)]
    if targets[0] != targets[1]:
        found.append(f"the targets are {targets[0]} and {targets[1]}")
    elif first.pairs != second.pairs:
        found.append("they measured different lists of pairs")
    for key, one, other in _differing(first.settings, second.settings):
        if key.startswith(_MEASURING) and key not in _WEIGHTS:
            found.append(f"{key} is {one} and {other}")
    metrics = [side.found.search.metric for side in (first, second)]
    if "aepe" in metrics and metrics[0] != metrics[1]:
        found.append(f"the metrics are {metrics[0]} and {metrics[1]}")
    return found


def _weights(side: Side) -> list[float]:
    weights = side.found.search.weights
    return [] if side.found.search.metric == "aepe" else [getattr(weights, t) for t in TERMS]


def _measured_as(first: Side, second: Side) -> Side:
    search, weights = second.found.search, first.found.search.weights
    changed = replace(
        search,
        trials=reweighted(search.trials, weights),
        weights=weights,
        metric=first.found.search.metric,
    )
    return replace(second, found=find(changed))


def _facts(side: Side) -> dict[str, Any]:
    found, best, default = side.found, side.best, side.found.default
    counted, spent = found.counted, found.tables["spending"]
    return {
        "Ω": "endpoint error" if found.search.metric == "aepe" else formula(found.search.weights),
        "best Ω": best.omega if best else None,
        "Ω of the default set": default.omega if default else None,
        "change": best.omega / default.omega - 1 if best and default else None,
        "measured after steps": best.last.step if best and best.last else None,
        "endpoint error of the best set, px": best.last.aepe if best and best.last else None,
        "endpoint error of the default set, px": (
            default.last.aepe if default and default.last else None
        ),
        "ρ of Ω and endpoint error": found.trust["rho"] if found.trust else None,
        "strategy": found.search.strategy,
        "trials ended": found.ended,
        **{f"{state} trials": counted[state] for state in ("complete", "pruned", "failed")},
        "steps of the base network": side.base_steps,
        "steps of all trials": sum(row["steps"] for row in spent),
        "share of the steps saved by pruning": saved_share(spent),
        "time of all workers, s": found.seconds,
    }


def _course(side: Side) -> list[Row]:
    """Return the course of a search by its cost, that of its base network included."""
    search, default = side.found.search, side.found.default
    seconds = sum(part.seconds for part in search.parts if part.name == BASE_NETWORK)
    return [
        {
            "search": side.label,
            "trial": row["trial"],
            "steps": row["steps"] + side.base_steps,
            "seconds": row["seconds"] + seconds,
            "best": row["best"],
            "best_step": row["best_step"],
            "relative": row["best"] / default.omega if default and row["best"] else None,
        }
        for row in course_rows(search.trials, search.length)
    ]


def _steps_to(side: Side, level: float) -> int | None:
    """Return the steps after which a search had a complete trial with at most that Ω."""
    top = side.best.last.step if side.best and side.best.last else None
    rows = [row for row in _course(side) if row["best_step"] == top]
    return next((row["steps"] for row in rows if row["best"] <= level), None)


def _changes(first: Side, second: Side) -> list[Change]:
    if first.best is None or second.best is None:
        return []
    sets = [in_order(side.best.parameters) for side in (first, second) if side.best]
    space = first.found.search.space
    found = [
        Change(each, (sets[0][name], sets[1][name]))
        for name, each in space.items()
        if all(name in chosen for chosen in sets) and name in second.found.search.space
    ]
    return sorted(found, key=lambda change: -abs(change.places[0] - change.places[1]))


def _differing(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    keys = dict.fromkeys([*first, *second])
    return [
        (key, str(first.get(key)), str(second.get(key)))
        for key in keys
        if first.get(key) != second.get(key) and key not in _UNTOLD
    ]
