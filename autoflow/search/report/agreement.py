"""Ω against the endpoint error, where the target's flow is known: each term alone, all together."""

from collections.abc import Sequence

from autoflow.search.objective import TERMS, Measurement, weighted
from autoflow.search.report.rungs import measured_at, measured_steps
from autoflow.search.report.tables import Row, correlation_row
from autoflow.search.results import TrialResult
from autoflow.search.statistics import rank_correlation
from selfflow.objective import ObjectiveSettings

TOGETHER = "all terms"
SCORES = (TOGETHER, *TERMS)


def scores(measured: Measurement, weights: ObjectiveSettings) -> dict[str, float]:
    """Return the weighted sum of the terms and each term alone, without any label."""
    charged = weights.charge_uncovered
    return {
        TOGETHER: weighted(measured, weights),
        "photometric": measured.photometric_charged if charged else measured.photometric,
        "smoothness": measured.smoothness,
        "distillation": measured.distillation,
    }


def agreement_points(
    trials: Sequence[TrialResult], step: int, weights: ObjectiveSettings
) -> list[Row]:
    """Return the scores and the endpoint error of all trials that were measured after `step`."""
    return [
        {"trial": trial.number, "step": step, **scores(measured, weights), "aepe": measured.aepe}
        for trial, measured in measured_at(trials, step)
        if measured.aepe is not None
    ]


def agreements(trials: Sequence[TrialResult], weights: ObjectiveSettings) -> list[Row]:
    """Return the rank correlation of each score with the endpoint error, after each of the steps.

    Empty where no flow is known. What is constant, or known of fewer than three trials, is left
    out.
    """
    rows = []
    for step in measured_steps(trials):
        points = agreement_points(trials, step, weights)
        errors = [point["aepe"] for point in points]
        for score in SCORES:
            found = rank_correlation([point[score] for point in points], errors)
            if found is not None:
                rows.append({"step": step, "score": score, **correlation_row(found)})
    return rows
