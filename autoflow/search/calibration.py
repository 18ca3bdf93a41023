"""Balanced weights of Ω: each term divided by how far it varies over a few networks.

The networks are a small search of their own, `NAME-calibration` in the same storage: the default
set and points near it, each trained for a few steps. So they are shared among all workers and
hosts, tried again where one dies, and not trained twice; and what has been measured for one of them
stays. The weights follow from them alone, and are stored in the study of the search before its
first trial.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import optuna

from autoflow.search.bench import Bench
from autoflow.search.objective import TERMS, Measurement
from autoflow.search.owners import registered
from autoflow.search.results import ranked, read_trials
from autoflow.search.settings import SearchSettings
from autoflow.search.work import open_trials, storage_of, work
from selfflow.objective import ObjectiveSettings
from selfflow.runs.errors import UserError
from selfflow.runs.progress import console
from selfflow.runs.run import to_json, write_text

WEIGHTS = "weights"  # of the study, and the name of the file in the run folder
FEWEST = 3  # networks whose spread says something
FLAT = 1e-6  # spread, relative to the mean, below which a term says nothing but rounding


def settle(
    study: optuna.Study, bench: Bench, path: Path, *, owner: str, deadline: float | None = None
) -> Bench:
    """Return the bench with the weights of the study; whoever comes first trains what it takes.

    All processes of a study call this before their first trial, and share the work.

    Args:
        study: of the search.
        bench: what its trials share.
        path: the run folder, which gets `weights.json`.
        owner: this process.
        deadline: `time.time()` at which it ends; None: none. The bench is returned as it is if the
            weights are not known by then.

    Raises:
        UserError: the networks cannot be trained, or do not differ.
    """
    metric = bench.settings.metric
    if metric.is_settled:
        return bench
    if WEIGHTS not in study.user_attrs:
        measured = _networks(bench, path, owner, deadline)
        if measured is None:
            return bench
        found = balance(measured, metric.terms)
        study.set_user_attr(WEIGHTS, found)
        said = " + ".join(f"{weight:g} {term}" for term, weight in found["weights"].items())
        console.print(f"Ω = {said}, balanced over {len(measured)} networks.", soft_wrap=True)
    write_text(path / f"{WEIGHTS}.json", to_json(study.user_attrs[WEIGHTS]) + "\n")
    return with_weights(bench, study)


def with_weights(bench: Bench, study: optuna.Study) -> Bench:
    """Return the bench with the weights that a study has settled on, if there are any."""
    found: Mapping[str, Any] | None = study.user_attrs.get(WEIGHTS)
    if found is None or bench.settings.metric.is_settled:
        return bench
    metric = bench.settings.metric.settled(found["weights"])
    return replace(bench, settings=bench.settings.model_copy(update={"metric": metric}))


def balance(networks: Sequence[Measurement], terms: ObjectiveSettings) -> dict[str, Any]:
    """Return weights in inverse proportion to each term's standard deviation over networks.

    Photometric, charged or not as `terms` says, keeps the weight that it has there, and so does a
    term that does not vary: whatever its weight, it tells none of these networks from another.

    Args:
        networks: a measurement of each, after the same steps.
        terms: the choices of the objective.

    Returns:
        `weights`, and what they come from, `spread` and `mean`, each by term; `kept`, the terms
        that do not vary; the number of `networks`.

    Raises:
        UserError: the networks are too few, or equal in the photometric term.
    """
    if len(networks) < FEWEST:
        raise UserError(
            f"calibration: {len(networks)} networks could be measured, balanced weights take "
            f"{FEWEST}; use metric.weights published or user"
        )
    photometric = "photometric_charged" if terms.charge_uncovered else "photometric"
    names = {term: photometric if term == "photometric" else term for term in TERMS}
    values = {term: [getattr(each, name) for each in networks] for term, name in names.items()}
    spread = {term: stdev(each) for term, each in values.items()}
    flat = [term for term, each in values.items() if spread[term] <= FLAT * abs(mean(each))]
    if "photometric" in flat:
        raise UserError(
            "calibration: all networks are equal in the photometric term; train them for longer "
            "(calibration.share), or use metric.weights published or user"
        )
    unit = terms.photometric * spread["photometric"]
    weights = {t: getattr(terms, t) if t in flat else _rounded(unit / spread[t]) for t in TERMS}
    return {
        "weights": weights,
        "spread": spread,
        "mean": {term: mean(each) for term, each in values.items()},
        "kept": flat,
        "networks": len(networks),
    }


def calibration_steps(settings: SearchSettings) -> int:
    """Return how many steps the networks are trained in all, 0 where no weights are balanced."""
    if settings.metric.is_settled:
        return 0
    return settings.calibration.networks * _own_settings(settings).trial.steps


def _networks(
    bench: Bench, path: Path, owner: str, deadline: float | None
) -> list[Measurement] | None:
    """Return what was measured of the networks, after all have been trained; None if not all are.

    Those that diverged are left out.
    """
    settings = _own_settings(bench.settings)
    settings = settings.model_copy(update={"storage": storage_of(bench.settings, path)})
    own, folder = replace(bench, settings=settings), path / "calibration"
    study = open_trials(settings, own, folder)
    with registered(folder, owner):
        work(study, own, folder, owner=owner, deadline=deadline)
    trials = read_trials(study)
    if sum(trial.state != "running" for trial in trials) < settings.trials:
        return None
    return [trial.last for trial in ranked(trials) if trial.last is not None]


def _own_settings(settings: SearchSettings) -> SearchSettings:
    """Return the settings of the search that consists of the networks: its startup alone."""
    count, steps = settings.calibration.networks, settings.calibration.share * settings.trial.steps
    trial = {
        "steps": max(1, round(steps)),
        "rungs": (1.0,),
        "rung_pairs": (),
        "rung_sides": (),
        "pruner": "none",
        "keep": "none",
        "pictures": 0,
    }
    return settings.model_copy(
        update={
            "name": f"{settings.name}-calibration",
            "strategy": "tpe",
            "trials": count,
            "startup": count,
            "metric": settings.metric.settled(),
            "trial": settings.trial.model_copy(update=trial),
        }
    )


def _rounded(weight: float) -> float:
    """Return a weight with the digits that a person reads."""
    return float(f"{weight:.4g}")
