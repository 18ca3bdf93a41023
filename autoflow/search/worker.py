"""What one of several processes of a search does: a trial after the other."""

import multiprocessing
import os
import signal
import sys
import threading
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from autoflow.search.bench import open_bench
from autoflow.search.calibration import settle
from autoflow.search.owners import registered
from autoflow.search.settings import SearchSettings
from autoflow.search.work import open_trials, work
from selfflow.runs.errors import UserError
from selfflow.runs.progress import console

REFUSED = 2  # exit status of a worker that has said why
STOPPED = 130  # of one that was asked to stop


def run_worker(
    settings: SearchSettings,
    path: Path,
    device: str,
    threads: int,
    owner: str,
    deadline: float | None,
    said: Connection,
) -> None:
    """Take trials until there are none to take; then end the process.

    Args:
        settings: of the search.
        path: the run folder, whose base network and pairs are there.
        device: where networks are trained.
        threads: how many torch may use.
        owner: its name in the study.
        deadline: `time.time()` after which no trial is run, or None.
        said: for what the user did wrong.
    """
    # A terminal's ^C reaches all processes; the parent passes it on when it sees fit.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    torch.set_num_threads(threads)
    console.quiet = True
    _follow_parent()
    try:
        with registered(path, owner):
            bench = open_bench(settings, path, torch.device(device))
            study = open_trials(settings, bench, path)
            bench = settle(study, bench, path, owner=owner, deadline=deadline)
            work(study, bench, path, owner=owner, deadline=deadline)
    except UserError as error:
        said.send_bytes(str(error).encode())
        sys.exit(REFUSED)
    except KeyboardInterrupt:
        sys.exit(STOPPED)


def _follow_parent() -> None:
    """End this process with its parent's, however that ends."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
