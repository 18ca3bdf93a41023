"""What a search ends with: results, tables and the report."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from autoflow.search.bench import BASE, Bench
from autoflow.search.final import NETWORK
from autoflow.search.objective import Measurement, Metric, measure_target, weighted
from autoflow.search.report.findings import Findings, Search, find
from autoflow.search.report.page import Figure, render_report
from autoflow.search.report.pictures import network_figure, set_figures
from autoflow.search.report.reweighting import (
    FOLDER,
    folder_name,
    formula,
    read_weights,
    reweighted,
    shift,
)
from autoflow.search.report.spending import BASE_NETWORK, Part
from autoflow.search.report.tables import to_csv, trial_rows, write_tables
from autoflow.search.results import TrialResult, ranked
from autoflow.search.work import write_results
from selfflow.classical import Zero
from selfflow.models import load_network
from selfflow.objective import FlowNetwork
from selfflow.runs.config import replace_values
from selfflow.runs.run import read_json, read_table, to_json, write_text
from selfflow.runs.store import read_metadata


@dataclass(frozen=True)
class Conclusion:
    """What was found, as JSON, and where its report is."""

    results: dict[str, Any]
    report: Path


def conclude(path: Path, bench: Bench, trials: Sequence[TrialResult]) -> Conclusion:
    """Write the result files, the tables and the report of a run folder.

    Args:
        path: the run folder.
        bench: of the search.
        trials: all that count; those that run are shown as far as they have come. Without any
            complete one there are no sets, and the report says why.
    """
    _write_sets(path, bench, trials)
    network = _network_results(path, bench)
    found = find(search_of(path, bench, trials, _outcome(network)))
    write_tables(path, found.tables)
    results = found.as_dict() | network
    write_text(path / "results.json", to_json(results) + "\n")
    report = path / "report.html"
    figures = [*figures_of(found, bench), *_network_figures(path, bench)]
    write_text(report, render_report(found, figures))
    return Conclusion(results, report)


def conclude_with_weights(
    path: Path, bench: Bench, trials: Sequence[TrialResult], text: str
) -> Conclusion:
    """Rank the trials of a run with other weights, and write what follows beside its own files.

    The results are in a folder of the run that is named after the weights, with best sets that
    `autoflow train` takes; those of the run itself are left as they are.

    Args:
        path: the run folder.
        bench: of the search.
        trials: all that count.
        text: the weights, "photometric=1,smoothness=2"; those of the search where it names none.

    Raises:
        UserError: `text` is no such thing.
    """
    settings = bench.settings
    weights = read_weights(text, settings.metric.settled().objective())
    metric = settings.metric.model_copy(
        update={"name": "s-af", "weights": "user", "terms": weights}
    )
    other = replace(bench, settings=settings.model_copy(update={"metric": metric}))
    old = find(search_of(path, bench, trials))
    new = find(search_of(path, other, reweighted(trials, weights)))
    changed = shift(old, new, _formula(bench))
    folder = path / FOLDER / folder_name(weights)
    _write_sets(folder, other, new.search.trials)
    write_tables(folder, {**new.tables, "shift": list(changed.rows)})
    results = new.as_dict() | {"weights": changed.as_dict()}
    write_text(folder / "results.json", to_json(results) + "\n")
    report = folder / "report.html"
    write_text(report, render_report(new, figures_of(new, other), changed))
    return Conclusion(results, report)


def _write_sets(path: Path, bench: Bench, trials: Sequence[TrialResult]) -> None:
    if ranked(trials):
        write_results(path, bench, trials)
    else:
        write_text(path / "trials.csv", to_csv(trial_rows(trials)))


def search_of(
    path: Path, bench: Bench, trials: Sequence[TrialResult], outcome: dict[str, str] | None = None
) -> Search:
    """Return what a report on a run folder is about."""
    settings = bench.settings
    return Search(
        name=settings.name,
        target=settings.target,
        metric=settings.metric.name,
        strategy=settings.strategy,
        trials=trials,
        space=bench.space,
        wanted=settings.trials,
        length=settings.trial.steps,
        weights=settings.metric.settled().objective(),
        parts=_parts(path),
        settings=_facts(bench),
        outcome=outcome or {},
    )


def figures_of(found: Findings, bench: Bench) -> list[Figure]:
    """Return pictures of what the best sets render, beside frames of the target."""
    ranks = ("the best set", "the second best", "the third best")
    named = {
        f"{rank}, trial {trial.number}": replace_values(bench.start, trial.parameters)
        for rank, trial in zip(ranks, found.sets, strict=False)
    }
    return set_figures(bench, named)


def _network_results(path: Path, bench: Bench) -> dict[str, Any]:
    """Return what was measured of the network that the search ended with; empty without one."""
    if not (path / NETWORK).exists():
        return {}
    settings = bench.settings
    network = load_network(path / NETWORK)[0].to(bench.device)
    measured = measure_target(network, bench.pairs, settings.metric)
    results: dict[str, Any] = {"network": settings.name, "network_omega": measured.omega}
    if settings.final_start == "shared":
        results["base_omega"] = _base_omega(path, settings.metric)
    if measured.aepe is not None:
        results |= {"network_aepe": measured.aepe, "zero_aepe": _zero_error(path, bench)}
    return results


def _base_omega(path: Path, metric: Metric) -> float:
    """Return Ω of the base network, from the terms that were stored with it."""
    told = read_metadata(path / BASE)
    names = [each.name for each in fields(Measurement) if each.name != "omega"]
    measured = Measurement(omega=math.nan, **{name: told[name] for name in names})
    if metric.name == "aepe":
        return math.nan if measured.aepe is None else measured.aepe
    return weighted(measured, metric.objective())


def _outcome(network: dict[str, Any]) -> dict[str, str]:
    """Return what is said of the network, beside what it is of."""
    if not network:
        return {}
    name = network["network"]
    began = f"; it began at {network['base_omega']:.4g}" if "base_omega" in network else ""
    outcome = {f"Ω of {name}{began}": f"{network['network_omega']:.4g}"}
    if "network_aepe" in network:
        zero = f"of zero flow {network['zero_aepe']:.3g} px"
        outcome[f"endpoint error of {name}; {zero}"] = f"{network['network_aepe']:.3g} px"
    return outcome


def _network_figures(path: Path, bench: Bench) -> list[Figure]:
    if not (path / NETWORK).exists():
        return []
    files = {"base network": path / BASE, bench.settings.name: path / NETWORK}
    networks: dict[str, FlowNetwork] = {
        name: load_network(file)[0].to(bench.device)
        for name, file in files.items()
        if file.exists()
    }
    return [network_figure(networks, bench.pairs, bench.settings.metric.iterations)]


def _zero_error(path: Path, bench: Bench) -> float:
    """Return the endpoint error of zero flow; measured once and kept in the run folder."""
    file = path / "zero.json"
    if not file.exists():
        measured = measure_target(Zero(), bench.pairs, bench.settings.metric)
        write_text(file, to_json(measured.as_dict()) + "\n")
    return float(read_json(file)["aepe"])


def _parts(path: Path) -> list[Part]:
    """Return what a search did beside its trials."""
    parts = []
    if (path / BASE).exists():
        told = read_metadata(path / BASE)
        parts.append(Part(BASE_NETWORK, int(told["steps"]), float(told["seconds"])))
    final = path / NETWORK.parent / "results.json"
    if final.exists():
        told = read_table(final)
        parts.append(Part("training at the end", int(told["steps"]), float(told["seconds"])))
    return parts


def _facts(bench: Bench) -> dict[str, str]:
    """Return what the table at the end of the report says."""
    settings = bench.settings
    return {
        "Ω": _formula(bench),
        "target pairs": f"{len(bench.pairs)}, short side {settings.pairs.side} px, "
        f"gap {settings.pairs.gap}",
        "searched": f"{len(bench.space)} hyperparameters, strategy {settings.strategy}, "
        f"pruner {settings.trial.pruner}",
        "network": settings.training.describe(),
        "steps": f"base {settings.base.steps}, a trial {settings.trial.steps}, "
        f"at the end {settings.final.steps}",
        "rungs": ", ".join(
            f"{rung.step} steps ({100 * rung.pairs:.0f} % of the pairs, side "
            f"{100 * rung.side:.0f} %)"
            for rung in settings.trial.ladder()
        ),
        "seed": str(settings.seed),
    }


def _formula(bench: Bench) -> str:
    metric = bench.settings.metric
    if metric.name == "aepe":
        return "mean endpoint error"
    if not metric.is_settled:
        return "balanced weights, not known yet"
    return formula(metric.objective())
