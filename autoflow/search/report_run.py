"""`autoflow report` on run folders: anew, with other weights, or two of them side by side."""

from dataclasses import dataclass
from pathlib import Path

import torch

from autoflow.hyperparameters import Hyperparameters
from autoflow.search.bench import BASE, Bench, open_bench
from autoflow.search.calibration import with_weights
from autoflow.search.conclusion import Conclusion, conclude, conclude_with_weights, search_of
from autoflow.search.report.compare_page import render_comparison
from autoflow.search.report.comparison import Comparison, Side, compare
from autoflow.search.report.findings import find
from autoflow.search.report.page import Figure
from autoflow.search.report.pictures import target_figure
from autoflow.search.report.tables import write_tables
from autoflow.search.results import TrialResult, read_trials
from autoflow.search.settings import SearchSettings
from autoflow.search.study import read_study
from autoflow.search.work import storage_of
from selfflow.runs.config import flatten, load, replace_values
from selfflow.runs.errors import UserError
from selfflow.runs.run import write_text

COMPARE = "compare.html"


@dataclass(frozen=True)
class SearchRun:
    """A search's run folder, to be looked at.

    Attributes:
        path: the folder.
        bench: of the search, with the weights that its study has settled on.
        trials: all that count, the running ones included.
    """

    path: Path
    bench: Bench
    trials: list[TrialResult]


def stored_settings(path: Path, data_root: Path | None = None) -> SearchSettings:
    """Return the settings of the search in a run folder; `data_root` may have moved.

    Raises:
        UserError: `path` holds no search.
    """
    if not (path / "config.toml").is_file() or not (path / "pairs.json").is_file():
        raise UserError(f"{path}: holds no search")
    root = {} if data_root is None else {"data_root": data_root}
    return load(SearchSettings, file=path / "config.toml", values=root)


def open_run(settings: SearchSettings, path: Path, device: torch.device) -> SearchRun:
    """Open a run folder with the trials that its study has by now."""
    study = read_study(storage_of(settings, path), settings.name)
    bench = with_weights(open_bench(settings, path, device), study)
    return SearchRun(path, bench, read_trials(study))


def rebuild_report(settings: SearchSettings, path: Path, device: torch.device) -> Conclusion:
    """Write the result files and the report of a run anew, from its study."""
    run = open_run(settings, path, device)
    return conclude(path, run.bench, run.trials)


def report_with_weights(
    settings: SearchSettings, path: Path, device: torch.device, weights: str
) -> Conclusion:
    """Rank the trials of a run with other weights; see `conclude_with_weights`."""
    run = open_run(settings, path, device)
    return conclude_with_weights(path, run.bench, run.trials, weights)


def compare_runs(first: SearchRun, second: SearchRun) -> Conclusion:
    """Write `compare.html` and its tables into the first run's folder.

    Raises:
        UserError: both are the same folder.
    """
    if first.path.resolve() == second.path.resolve():
        raise UserError(f"--compare {second.path}: is the same search")
    labels = [run.path.name for run in (first, second)]
    if labels[0] == labels[1]:
        labels = [str(run.path) for run in (first, second)]
    found = compare(_side(first, labels[0]), _side(second, labels[1]))
    write_tables(first.path, found.tables)
    report = first.path / COMPARE
    write_text(report, render_comparison(found, _figures(found, first.bench, second.bench)))
    return Conclusion(found.as_dict(), report)


def _side(run: SearchRun, label: str) -> Side:
    settings = run.bench.settings
    shared = settings.trial.start == "shared" and (run.path / BASE).exists()
    return Side(
        label=label,
        found=find(search_of(run.path, run.bench, run.trials)),
        settings=flatten(settings),
        pairs=run.bench.pairs.digest,
        base_steps=settings.base.steps if shared else 0,
    )


def _figures(found: Comparison, first: Bench, second: Bench) -> list[Figure]:
    """Return the best sets beside the target; each beside its own where they have two."""
    sets: list[tuple[Bench, dict[str, Hyperparameters]]] = []
    for side, bench in ((found.first, first), (found.second, second)):
        if side.best is not None:
            label = f"{side.label}, trial {side.best.number}"
            sets.append((bench, {label: replace_values(bench.start, side.best.parameters)}))
    if first.settings.target == second.settings.target and sets:
        sets = [(first, {label: each for _, named in sets for label, each in named.items()})]
    return [target_figure(bench, named) for bench, named in sets]
