"""What a search ends with: results and the report."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoflow.final import NETWORK
from autoflow.objective import measure_target
from autoflow.report.page import Figure, Search, render_report
from autoflow.report.pictures import network_figure, set_figures
from autoflow.results import TrialResult, agreement, measured_steps
from autoflow.search import BASE, summary, write_results
from autoflow.trial import Bench
from selfflow.classical import Zero
from selfflow.models import load_network
from selfflow.objective import FlowNetwork
from selfflow.runs.run import read_json, to_json, write_text
from selfflow.runs.store import read_metadata


@dataclass(frozen=True)
class Conclusion:
    """What was found, as JSON, and where its report is."""

    results: dict[str, Any]
    report: Path


def conclude(path: Path, bench: Bench, trials: list[TrialResult]) -> Conclusion:
    """Write the result files and the report of a run folder."""
    settings = bench.settings
    sets = write_results(path, bench, trials)
    results = summary(bench, trials)
    figures = set_figures(bench, sets)
    networks: dict[str, FlowNetwork] = {}
    outcome: dict[str, str] = {}
    costs = _costs(path, trials)
    if (path / NETWORK).exists():
        network = load_network(path / NETWORK)[0].to(bench.device)
        networks[settings.name] = network
        iterations = settings.metric.iterations
        measured = measure_target(network, bench.pairs, settings.metric)
        results |= {"network": settings.name, "network_omega": measured.omega}
        outcome[f"Ω of {settings.name}"] = f"{measured.omega:.4g}"
        if measured.aepe is not None:
            zero = _zero_error(path, bench)
            results |= {"network_aepe": measured.aepe, "zero_aepe": zero}
            outcome[f"endpoint error of {settings.name}; of zero flow {zero:.3g} px"] = (
                f"{measured.aepe:.3g} px"
            )
        if (path / BASE).exists():
            networks = {"base network": load_network(path / BASE)[0].to(bench.device)} | networks
        figures = [network_figure(networks, bench.pairs, iterations), *figures]
    found = [agreement(trials, step) for step in measured_steps(trials)]
    results["spearman"] = [
        {"step": a.step, "trials": a.trials, "rho": a.correlation} for a in found if a is not None
    ]
    results["seconds"] = sum(costs.values())
    write_text(path / "results.json", to_json(results) + "\n")
    report = path / "report.html"
    write_text(report, _page(bench, trials, figures, costs, outcome))
    return Conclusion(results, report)


def _zero_error(path: Path, bench: Bench) -> float:
    """Return the endpoint error of zero flow; measured once and kept in the run folder."""
    file = path / "zero.json"
    if not file.exists():
        measured = measure_target(Zero(), bench.pairs, bench.settings.metric)
        write_text(file, to_json(measured.as_dict()) + "\n")
    return float(read_json(file)["aepe"])


def _page(
    bench: Bench,
    trials: list[TrialResult],
    figures: list[Figure],
    costs: dict[str, float],
    outcome: dict[str, str],
) -> str:
    settings = bench.settings
    return render_report(
        Search(
            name=settings.name,
            target=settings.target,
            metric=settings.metric.name,
            trials=trials,
            space=bench.space,
            figures=figures,
            costs=costs,
            settings=_facts(bench),
            outcome=outcome,
        )
    )


def _costs(path: Path, trials: list[TrialResult]) -> dict[str, float]:
    """Return the seconds that the parts of a search took."""
    costs = {"trials": sum(trial.seconds for trial in trials)}
    if (path / BASE).exists():
        costs = {"base network": float(read_metadata(path / BASE).get("seconds", 0))} | costs
    final = path / "train" / "results.json"
    if final.exists():
        costs["training at the end"] = float(json.loads(final.read_text())["seconds"])
    return costs


def _facts(bench: Bench) -> dict[str, str]:
    """Return what the table at the end of the report says."""
    settings, terms = bench.settings, bench.settings.metric.terms
    weights = f"{terms.photometric:g} photometric + {terms.smoothness:g} smoothness"
    charged = ", uncovered pixels charged" if terms.charge_uncovered else ""
    omega = f"{weights} + {terms.distillation:g} distillation{charged}"
    return {
        "Ω": omega if settings.metric.name == "s-af" else "mean endpoint error",
        "target pairs": f"{len(bench.pairs)}, short side {settings.pairs.side} px, "
        f"gap {settings.pairs.gap}",
        "searched": f"{len(bench.space)} hyperparameters",
        "network": settings.training.describe(),
        "steps": f"base {settings.base.steps}, a trial {settings.trial.steps}, "
        f"at the end {settings.final.steps}",
        "seed": str(settings.seed),
    }
