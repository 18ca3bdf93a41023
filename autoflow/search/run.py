"""A search from beginning to end."""

import time
from pathlib import Path

import optuna
import torch

from autoflow.search.bench import Bench
from autoflow.search.budget import Budget, Timetable
from autoflow.search.calibration import settle, with_weights
from autoflow.search.conclusion import Conclusion, conclude
from autoflow.search.final import FOLDER, train_final
from autoflow.search.owners import new_owner, registered
from autoflow.search.prepare import prepare
from autoflow.search.results import TrialResult, finished, ranked
from autoflow.search.settings import SearchSettings
from autoflow.search.watching import watched
from autoflow.search.work import open_trials, work, write_results
from autoflow.search.workers import Workers
from selfflow.runs.errors import UserError
from selfflow.runs.lock import locked
from selfflow.runs.progress import format_duration
from selfflow.runs.run import read_table

LOCK = ".conclude.lock"


def run_search(
    settings: SearchSettings,
    path: Path,
    device: torch.device,
    *,
    train: bool = True,
    begun: float | None = None,
    step: float | None = None,
) -> Conclusion:
    """Run a search, or go on with it, in a run folder; return what was found.

    Any number of processes may do so at the same time, in the same folder or in others.

    Args:
        settings: everything it depends on.
        path: the run folder, new or of the same search.
        device: where scenes are rendered and networks trained.
        train: whether it ends with a network in the store.
        begun: `time.time()` from which the budget counts; None: now.
        step: seconds that a step of training takes here; None: measured if there is a budget.
    """
    began = time.time()
    budget = Budget.starting(began if begun is None else begun, settings.budget)
    base = settings.trial.start == "shared" or (train and settings.final_start == "shared")
    bench = prepare(settings, path, device, base=base, budget=budget)
    study = open_trials(settings, bench, path)
    times = None if budget is None else Timetable.of(budget, bench, train=train, step=step)
    _run_trials(study, bench, path, None if times is None else times.trials)
    bench = with_weights(bench, study)
    trials = finished(study)
    if times is not None and not ranked(trials):
        length = format_duration(settings.budget or 0.0)
        raise UserError(
            f"{path}: no trial is complete after --budget {length}; the same command goes on"
        )
    return _conclude(path, bench, trials, began, times, train=train)


def _run_trials(study: optuna.Study, bench: Bench, path: Path, deadline: float | None) -> None:
    """Run trials in this process, or in as many as the settings ask for, and show them."""
    settings = bench.settings
    if settings.workers > 1:
        workers = Workers(settings, path, bench.device, deadline)
        with watched(study, settings, workers.owners, deadline):
            workers.run(study)
        return
    owner = new_owner()
    with registered(path, owner), watched(study, settings, lambda: {owner}, deadline):
        bench = settle(study, bench, path, owner=owner, deadline=deadline)
        work(study, bench, path, owner=owner, deadline=deadline)


def _conclude(
    path: Path,
    bench: Bench,
    trials: list[TrialResult],
    began: float,
    times: Timetable | None,
    *,
    train: bool,
) -> Conclusion:
    """Train the network and write the report, unless another process has since this one began."""
    steps = bench.settings.final.steps if train else 0
    waiting = f"{path}: another process ends the search; this one waits for its results."
    with locked(path / LOCK, waiting, until=None if times is None else times.training) as held:
        if _written_since(began, path, len(trials)) and _steps_trained(path) >= steps:
            return Conclusion(read_table(path / "results.json"), path / "report.html")
        write_results(path, bench, trials)
        if train and held:
            left = None if times is None else times.left(bench)
            train_final(bench.settings, path, bench.device, left)
        return conclude(path, bench, trials)


def _written_since(began: float, path: Path, trials: int) -> bool:
    """Return whether results of that many trials have been written in the meantime."""
    results = path / "results.json"
    if not results.exists() or results.stat().st_mtime < began:
        return False
    return bool(read_table(results).get("trials") == trials)


def _steps_trained(path: Path) -> int:
    """Return the steps of the network that the search ended with, 0 if there is none."""
    results = path / FOLDER / "results.json"
    return int(read_table(results)["steps"]) if results.exists() else 0
