"""Several trials at the same time: processes that each run one trial after the other."""

import multiprocessing
import os
import threading
import time
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from functools import lru_cache
from pathlib import Path

import optuna
import torch

from autoflow.results import TrialResult
from autoflow.search import Report, clean_up, may_start, open_bench, open_trials, run_next
from autoflow.search_settings import SearchSettings
from autoflow.study import finished
from autoflow.trial import Bench
from selfflow.runs.progress import console


def run_in_workers(
    study: optuna.Study,
    bench: Bench,
    path: Path,
    *,
    owner: str,
    report: Report | None = None,
) -> list[TrialResult]:
    """Run trials in `workers` processes until the study has as many as the settings ask for.

    A worker that is killed takes its trial along; the trial is queued again, a few times.
    """
    begun = time.monotonic()
    while may_start(study, bench.settings, begun):
        try:
            _run_pool(study, bench, path, owner, report, begun)
        except BrokenProcessPool:
            console.print("A worker process ended without a word; its trial is tried again.")
            clean_up(study, bench, owner)
    return finished(study)


def _run_pool(
    study: optuna.Study,
    bench: Bench,
    path: Path,
    owner: str,
    report: Report | None,
    begun: float,
) -> None:
    settings = bench.settings
    context = multiprocessing.get_context("spawn")
    threads = max(1, torch.get_num_threads() // settings.workers)
    with ProcessPoolExecutor(settings.workers, context, _prepare, (threads,)) as pool:
        running: set[Future[TrialResult]] = set()
        while True:
            wanted = settings.trials - len(finished(study)) - len(running)
            free = min(settings.workers - len(running), wanted)
            if may_start(study, settings, begun):
                arguments = (settings, path, str(bench.device), owner)
                running |= {pool.submit(_one_trial, *arguments) for _ in range(free)}
            if not running:
                return
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                result = future.result()
                if report is not None:
                    report(result, finished(study))


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


def _one_trial(settings: SearchSettings, path: Path, device: str, owner: str) -> TrialResult:
    bench = _bench(settings, path, device)
    return run_next(_study(settings, path, device), bench, owner)


@lru_cache(maxsize=1)
def _bench(settings: SearchSettings, path: Path, device: str) -> Bench:
    return open_bench(settings, path, torch.device(device))


@lru_cache(maxsize=1)
def _study(settings: SearchSettings, path: Path, device: str) -> optuna.Study:
    return open_trials(settings, _bench(settings, path, device), path)
