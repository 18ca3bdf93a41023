"""Other weights of Ω, tried on the raw terms that every trial has stored; nothing is run again."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from autoflow.search.objective import TERMS, weighted
from autoflow.search.report.findings import TOP, Findings
from autoflow.search.report.rungs import measured_at
from autoflow.search.report.tables import Row
from autoflow.search.results import TrialResult, ranked
from autoflow.search.statistics import RankCorrelation, rank_correlation
from selfflow.objective import ObjectiveSettings
from selfflow.runs.errors import UserError

FOLDER = "weights"


def read_weights(text: str, terms: ObjectiveSettings) -> ObjectiveSettings:
    """Return `terms` with the weights of "photometric=1,smoothness=2"; unnamed ones stay.

    Raises:
        UserError: a name is no term or is there twice, a value is no weight, or all are 0.
    """
    weights: dict[str, float] = {}
    for part in text.split(","):
        name, _, value = (each.strip() for each in part.partition("="))
        if name not in TERMS:
            raise UserError(f"--weights: {name or repr(text)} is no term; they are {list(TERMS)}")
        if name in weights:
            raise UserError(f"--weights: {name} is there twice")
        weights[name] = _weight(name, value)
    found = terms.model_copy(update=weights)
    if not any(getattr(found, term) for term in TERMS):
        raise UserError("--weights: all are 0, so all sets would be alike")
    return found


def _weight(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise UserError(f"--weights: {name}={text} is no weight; give a number of at least 0")
    return value


def formula(weights: ObjectiveSettings) -> str:
    """Return Ω as a sum, as in "1 photometric + 2.5 smoothness"."""
    shares = {term: getattr(weights, term) for term in TERMS}
    summands = " + ".join(f"{weight:.3g} {term}" for term, weight in shares.items() if weight)
    return summands + (", uncovered pixels charged" if weights.charge_uncovered else "")


def folder_name(weights: ObjectiveSettings) -> str:
    """Return the name of the folder for results with these weights."""
    return ",".join(f"{term}={getattr(weights, term):g}" for term in TERMS)


def reweighted(trials: Sequence[TrialResult], weights: ObjectiveSettings) -> list[TrialResult]:
    """Return the trials with Ω of these weights in every measurement."""
    return [
        replace(trial, course=tuple(replace(m, omega=weighted(m, weights)) for m in trial.course))
        for trial in trials
    ]


@dataclass(frozen=True)
class Shift:
    """What other weights change.

    Attributes:
        before: Ω as the search minimised it.
        after: Ω with the other weights.
        best_before: the best trial by the first, as the search measured it; None: none is complete.
        best_after: the best one by the second, likewise.
        agreement: rank correlation of both orders over the comparable complete trials, or None.
        kept: trials that are among the best three in both.
        ahead: trials that were pruned, and would have been among the better half of those that
            survived the rung where they were.
        rows: Ω and rank of every comparable complete trial in both, in the new order.
    """

    before: str
    after: str
    best_before: TrialResult | None
    best_after: TrialResult | None
    agreement: RankCorrelation | None
    kept: tuple[int, ...]
    ahead: tuple[int, ...]
    rows: Sequence[Row]

    def as_dict(self) -> dict[str, Any]:
        """Return what changes, for JSON."""
        return {
            "before": self.before,
            "after": self.after,
            "best_before": self.best_before.number if self.best_before else None,
            "best_after": self.best_after.number if self.best_after else None,
            "rho_of_orders": self.agreement.rho if self.agreement else None,
            "kept_among_best": list(self.kept),
            "pruned_but_ahead": list(self.ahead),
        }


def shift(old: Findings, new: Findings, before: str) -> Shift:
    """Return what changes between two readings of the same trials.

    Args:
        old: as the search saw them.
        new: with other weights.
        before: how Ω was made up.
    """
    rows = _rank_rows(old.order, new.order)
    first, second = ([trial.number for trial in order[:TOP]] for order in (old.order, new.order))
    return Shift(
        before=before,
        after=formula(new.search.weights),
        best_before=old.order[0] if old.order else None,
        best_after=new.order[0] if new.order else None,
        agreement=rank_correlation([r["omega_before"] for r in rows], [r["omega"] for r in rows]),
        kept=tuple(number for number in second if number in first),
        ahead=tuple(_ahead(new.search.trials)),
        rows=rows,
    )


def _rank_rows(old: Sequence[TrialResult], new: Sequence[TrialResult]) -> list[Row]:
    before: Mapping[int, tuple[int, TrialResult]] = {
        trial.number: (rank, trial) for rank, trial in enumerate(old, 1)
    }
    return [
        {
            "trial": trial.number,
            "rank": rank,
            "rank_before": before[trial.number][0],
            "omega": trial.omega,
            "omega_before": before[trial.number][1].omega,
            "aepe": trial.last.aepe if trial.last else None,
        }
        for rank, trial in enumerate(new, 1)
    ]


def _ahead(trials: Sequence[TrialResult]) -> list[int]:
    """Return the pruned trials that are better than the median of those that went on from there."""
    found = []
    complete = {trial.number for trial in ranked(trials)}
    for trial in trials:
        if trial.state != "pruned" or trial.last is None:
            continue
        there = measured_at(trials, trial.last.step)
        survivors = [m.omega for other, m in there if other.number in complete]
        if survivors and trial.omega < median(survivors):
            found.append(trial.number)
    return found
