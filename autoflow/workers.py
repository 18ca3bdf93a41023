"""Several trials at the same time: processes that each run one trial after the other."""

import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import optuna
import torch

from autoflow.owners import new_owner, registered
from autoflow.results import TrialResult, finished
from autoflow.search import Report, open_bench, open_trials, work
from autoflow.search_settings import SearchSettings
from selfflow.runs.progress import console


def run_in_workers(
    study: optuna.Study,
    settings: SearchSettings,
    path: Path,
    device: torch.device,
    *,
    deadline: float | None,
    report: Report,
) -> None:
    """Run trials in `workers` processes until all that the settings ask for have come to an end.

    A worker that is killed takes its trial along; the trial is tried again, a few times.
    """
    say = _told_of(study, report)
    while True:
        try:
            _run_pool(settings, path, device, deadline, say)
            return
        except BrokenProcessPool:
            console.print("A worker process ended without a word; its trial is tried again.")


def _run_pool(
    settings: SearchSettings,
    path: Path,
    device: torch.device,
    deadline: float | None,
    say: Callable[[], None],
) -> None:
    context = multiprocessing.get_context("spawn")
    threads = max(1, torch.get_num_threads() // settings.workers)
    with ProcessPoolExecutor(settings.workers, context, _prepare, (threads,)) as pool:
        running = {
            pool.submit(_work, settings, path, str(device), deadline)
            for _ in range(settings.workers)
        }
        while running:
            done, running = wait(running, timeout=0.5)
            for future in done:
                future.result()
            say()


def _told_of(study: optuna.Study, report: Report) -> Callable[[], None]:
    """Return what reports the trials that have ended since it was called the last time."""
    told = {trial.number for trial in finished(study)}

    def say() -> None:
        ended: list[TrialResult] = finished(study)
        for trial in ended:
            if trial.number not in told:
                told.add(trial.number)
                report(trial, ended)

    return say


def _prepare(threads: int) -> None:
    """Make a process a worker: few threads, no bars, and no life after its parent's."""
    torch.set_num_threads(threads)
    console.quiet = True
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _work(settings: SearchSettings, path: Path, device: str, deadline: float | None) -> None:
    bench = open_bench(settings, path, torch.device(device))
    study = open_trials(settings, bench, path)
    owner = new_owner()
    with registered(path, owner):
        work(study, bench, path, owner=owner, deadline=deadline)
