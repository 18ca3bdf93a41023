"""Which hyperparameters Ω depends on, as far as the number of trials allows to say."""

import math
import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import optuna
from optuna.importance import PedAnovaImportanceEvaluator
from optuna.trial import FrozenTrial
from scipy.stats import spearmanr

from autoflow.search.report.rungs import measured_at
from autoflow.search.report.tables import Row
from autoflow.search.results import TrialResult
from autoflow.search.statistics import chance_level
from autoflow.space import distributions
from selfflow.runs.parameter import Parameter

FEWEST = 6  # trials with which a correlation with one of many hyperparameters is worth a number
# With seventy hyperparameters of which three matter, two hundred trials are about what PED-ANOVA
# takes to name one of them first; with one hundred it names others.
MANY = 200
SHUFFLES = 19  # the largest of 19 is exceeded by a twentieth one in 5 % of cases


def importances(
    trials: Sequence[TrialResult], space: Mapping[str, Parameter], step: int
) -> list[Row]:
    """Return how Ω after `step` steps depends on each hyperparameter, the strongest first.

    `rho` is Spearman's rank correlation, `chance` the |rho| that the strongest of all
    hyperparameters stays below in 95 % of cases if none of them matters. From 200 trials on there
    is also `ped_anova`, the share of what sets the best tenth of the trials apart from all of them
    (Watanabe et al., IJCAI 2023, Optuna's own). Shares add up to 1, so something gets one even
    where nothing matters: `ped_anova_chance` is the largest share with Ω shuffled, 19 times.

    Args:
        trials: with parameters in order, see `autoflow.search.report.changes.in_order`.
        space: what was searched.
        step: after which Ω is taken, of all trials that were measured then.

    Returns:
        Nothing for fewer than six trials, or where all have the same Ω.
    """
    measured = [(trial, m.omega) for trial, m in measured_at(trials, step) if _has(trial, space)]
    omegas = [omega for _, omega in measured]
    if len(measured) < FEWEST or len(set(omegas)) == 1:
        return []
    columns = {
        name: column
        for name in space
        if len(set(column := [float(trial.parameters[name]) for trial, _ in measured])) > 1
    }
    chance = chance_level(columns, omegas)
    shares, level = _ped_anova(measured, space) if len(measured) >= MANY else ({}, 0.0)
    rows = [
        {
            "parameter": name,
            "step": step,
            "trials": len(measured),
            "rho": float(spearmanr(column, omegas).statistic),
            "chance": chance,
            **(_share(shares.get(name, 0.0), level) if shares else {}),
        }
        for name, column in columns.items()
    ]
    return sorted(rows, key=lambda row: -abs(row["rho"]))


def slice_rows(trials: Sequence[TrialResult], names: Sequence[str], step: int) -> list[Row]:
    """Return Ω after `step` steps against each of some hyperparameters.

    Ω is None for a trial that was pruned or failed before.
    """
    rows = []
    for name in names:
        for trial in trials:
            omega = next((m.omega for m in trial.course if m.step == step), None)
            known = omega is not None or trial.state in ("pruned", "failed")
            if known and name in trial.parameters:
                rows.append(
                    {
                        "parameter": name,
                        "trial": trial.number,
                        "state": trial.state,
                        "default": trial.is_default,
                        "value": float(trial.parameters[name]),
                        "step": step,
                        "omega": omega,
                    }
                )
    return rows


def _has(trial: TrialResult, space: Mapping[str, Parameter]) -> bool:
    return all(math.isfinite(trial.parameters.get(name, math.nan)) for name in space)


def _share(share: float, level: float) -> Row:
    return {"ped_anova": share, "ped_anova_chance": level}


def _ped_anova(
    measured: Sequence[tuple[TrialResult, float]], space: Mapping[str, Parameter]
) -> tuple[dict[str, float], float]:
    """Return the share of each hyperparameter, and the largest one if Ω were unrelated to all."""
    forms = distributions(space)
    study = optuna.create_study(direction="minimize")
    study.add_trials(
        [
            optuna.trial.create_trial(
                params={name: trial.parameters[name] for name in space},
                distributions=forms,
                value=omega,
            )
            for trial, omega in measured
        ]
    )

    def shares(omegas: npt.NDArray[np.float64]) -> dict[str, float]:
        def target(trial: FrozenTrial) -> float:
            return float(omegas[trial.number])

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that low targets are taken for good ones
            found = PedAnovaImportanceEvaluator().evaluate(study, target=target)
        return {name: value / sum(found.values()) for name, value in found.items()}

    omegas, rng = np.array([omega for _, omega in measured]), np.random.default_rng(0)
    largest = [max(shares(rng.permutation(omegas)).values()) for _ in range(SHUFFLES)]
    return shares(omegas), max(largest)
