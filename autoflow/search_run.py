"""A search from beginning to end, and what a person sees of it."""

import time
from pathlib import Path

import torch

from autoflow.conclusion import Conclusion, conclude
from autoflow.final import train_final
from autoflow.owners import new_owner, registered
from autoflow.results import TrialResult, finished, ranked
from autoflow.search import (
    BASE,
    make_base,
    open_bench,
    open_trials,
    sole_owner,
    storage_of,
    work,
    write_results,
)
from autoflow.search_settings import RANDOM, SearchSettings
from autoflow.sets import read_hyperparameters
from autoflow.space import searched
from autoflow.strategies import strategy_of
from autoflow.study import read_study
from autoflow.train import check_init, measure_cost, read_photographs
from autoflow.trial import Bench
from autoflow.workers import run_in_workers
from selfflow.runs.config import load
from selfflow.runs.errors import UserError
from selfflow.runs.progress import console, format_duration
from selfflow.runs.run import MAY_DIFFER, Run
from selfflow.video import open_target


def estimate(
    settings: SearchSettings, path: Path, device: torch.device, *, train: bool
) -> list[str]:
    """Return what a search will use and take, all inputs looked at; nothing is written."""
    target = open_target(settings.target, settings.data_root)
    start = read_hyperparameters(settings.hyperparameters)
    space = searched(start, settings.only)
    strategy_of(settings, space)
    if settings.metric.name == "aepe" and not target.has_ground_truth:
        raise UserError(f"target {target.name}: no flow is known; --metric aepe needs it")
    read_photographs(settings.training.photographs, settings.target, settings.data_root)
    if settings.base.init != RANDOM:
        check_init(settings.base.init, settings.training.architecture)
    cost = measure_cost([start], settings.training, device)
    shared = "shared" in (settings.trial.start, settings.final_start if train else "")
    steps = {
        "base network": settings.base.steps * shared,
        f"{settings.trials} trials": settings.trials * settings.trial.steps // settings.workers,
        "training at the end": settings.final.steps * train,
    }
    parts = ", ".join(
        f"{name} {format_duration(count * cost.seconds)}" for name, count in steps.items() if count
    )
    workers = f"{settings.workers} workers, " if settings.workers > 1 else ""
    return [
        f"Target {target.name}, {len(target.sequences)} sequences; {len(space)} hyperparameters; "
        f"metric {settings.metric.name}; {workers}device {device}",
        f"Network: {settings.training.describe()}",
        f"Estimate: {cost.describe(sum(steps.values()))}: {parts}; without measurements, and less "
        "what pruning saves",
        f"Run folder {path}",
    ]


def run_search(
    settings: SearchSettings, path: Path, device: torch.device, *, train: bool = True
) -> Conclusion:
    """Run a search, or go on with it, in a run folder; return what was found.

    Args:
        settings: everything it depends on.
        path: the run folder, new or of the same search.
        device: where scenes are rendered and networks trained.
        train: whether it ends with a network in the store.
    """
    with (
        Run.open(path, "search", settings, may_differ=MAY_DIFFER | {"data_root", "keep"}),
        sole_owner(path),
    ):
        bench = open_bench(settings, path, device)
        if settings.trial.start == "shared" or (train and settings.final_start == "shared"):
            if not (path / BASE).exists():
                make_base(settings, bench, path)
            bench = open_bench(settings, path, device)
        trials = _all_trials(settings, path, bench)
        write_results(path, bench, trials)
        if train:
            train_final(settings, path, device)
        return conclude(path, bench, trials)


def _all_trials(settings: SearchSettings, path: Path, bench: Bench) -> list[TrialResult]:
    study = open_trials(settings, bench, path)
    known = len(finished(study))
    if known:
        console.print(f"{known} of {settings.trials} trials are done.")
    lines = TrialLines(settings)
    deadline = None if settings.budget is None else time.time() + settings.budget
    if settings.workers > 1:
        run_in_workers(study, settings, path, bench.device, deadline=deadline, report=lines)
    else:
        owner = new_owner()
        with registered(path, owner):
            work(study, bench, path, owner=owner, deadline=deadline, report=lines)
    return finished(study)


class TrialLines:
    """One line for each trial: how it ended, Ω and its terms, the best so far, time left."""

    def __init__(self, settings: SearchSettings) -> None:
        self.settings = settings
        self.begun = time.monotonic()
        self.seen = 0

    def __call__(self, trial: TrialResult, trials: list[TrialResult]) -> None:
        """Print the line of a trial that has just ended."""
        self.seen += 1
        waiting = self.settings.trials - len(trials)
        left = format_duration(waiting * (time.monotonic() - self.begun) / self.seen)
        order = ranked(trials)
        best = f"best {order[0].omega:.4g} (trial {order[0].number})" if order else "no best yet"
        parts = [
            f"trial {trial.number:>3} {trial.state:<8}",
            _terms(trial),
            f"{format_duration(trial.seconds)}",
            best,
            *([f"{left} left"] if waiting > 0 else []),
        ]
        console.print(" | ".join(parts), markup=False, soft_wrap=True)


def _terms(trial: TrialResult) -> str:
    last = trial.last
    if trial.state == "failed" or last is None:
        return trial.reason
    terms = (
        f"Ω {last.omega:.4g}: photometric {last.photometric:.3g}, "
        f"smoothness {last.smoothness:.3g}, distillation {last.distillation:.3g}, "
        f"covered {100 * last.covered:.0f} %"
    )
    return terms + ("" if last.aepe is None else f", EPE {last.aepe:.3g} px")


def stored_settings(path: Path, data_root: Path | None = None) -> SearchSettings:
    """Return the settings of the search in a run folder; `data_root` may have moved.

    Raises:
        UserError: `path` holds no search.
    """
    if not (path / "config.toml").is_file() or not (path / "pairs.json").is_file():
        raise UserError(f"{path}: holds no search")
    root = {} if data_root is None else {"data_root": data_root}
    return load(SearchSettings, file=path / "config.toml", values=root)


def rebuild_report(settings: SearchSettings, path: Path, device: torch.device) -> Conclusion:
    """Write the result files and the report of a run anew, from its study."""
    study = read_study(storage_of(settings, path), settings.name)
    return conclude(path, open_bench(settings, path, device), finished(study))
