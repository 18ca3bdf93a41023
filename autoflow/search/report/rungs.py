"""Ω at equal steps: where enough trials can be compared, and what a lower rung tells of the last.

Ω after different numbers of steps is a different measure, and a lower rung may measure fewer pairs.
"""

from collections.abc import Sequence

from autoflow.search.objective import Measurement
from autoflow.search.report.tables import Row, correlation_row
from autoflow.search.results import TrialResult
from autoflow.search.statistics import FEWEST, rank_correlation

ENOUGH = 20  # trials with whose order something can be said


def measured_steps(trials: Sequence[TrialResult]) -> list[int]:
    """Return the steps at which trials were measured, in order."""
    return sorted({measured.step for trial in trials for measured in trial.course})


def measured_at(trials: Sequence[TrialResult], step: int) -> list[tuple[TrialResult, Measurement]]:
    """Return the trials that were measured after `step` steps, with what was measured then."""
    return [
        (trial, measured) for trial in trials for measured in trial.course if measured.step == step
    ]


def telling_step(trials: Sequence[TrialResult]) -> int | None:
    """Return the steps after which trials are best compared; None where nothing was measured.

    The last steps say most about a set, but those that get there are a choice. It is the last step
    at which a third of all were measured, and half of them or twenty; else the one at which most
    were, the later of several.
    """
    counts = {step: len(measured_at(trials, step)) for step in measured_steps(trials)}
    every = sum(bool(trial.course) for trial in trials)
    wanted = max(every / 3, min(ENOUGH, every / 2))
    enough = [step for step, count in counts.items() if count >= wanted]
    return max(enough) if enough else max(counts, key=lambda s: (counts[s], s), default=None)


def top_step(trials: Sequence[TrialResult]) -> int | None:
    """Return the last step that at least three trials completed; of a population, of one turn."""
    last = [trial.last.step for trial in trials if trial.state == "complete" and trial.last]
    return max((step for step in set(last) if last.count(step) >= FEWEST), default=None)


def prediction_points(trials: Sequence[TrialResult]) -> list[Row]:
    """Return Ω at every lower rung beside Ω at the top, a row for each trial and rung."""
    top = top_step(trials)
    return [
        {"trial": trial.number, "step": measured.step, "omega": measured.omega, "top": last.omega}
        for trial, last in (measured_at(trials, top) if top is not None else [])
        if trial.state == "complete"
        for measured in trial.course
        if measured.step < last.step
    ]


def predictions(points: Sequence[Row]) -> list[Row]:
    """Return, for each lower rung, the rank correlation of Ω there and Ω at the top.

    Only trials that reached the top have both. Pruning took the others away, by the order at the
    lower rung: among what is left the correlation is lower than among all.
    """
    rows = []
    for step in sorted({point["step"] for point in points}):
        here = [point for point in points if point["step"] == step]
        found = rank_correlation([p["omega"] for p in here], [p["top"] for p in here])
        if found is not None:
            rows.append({"step": step, **correlation_row(found)})
    return rows
