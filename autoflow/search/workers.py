"""Several trials at the same time: processes that each take one after the other."""

import multiprocessing
import signal
import time
from collections.abc import Set
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Final

import optuna
import torch
from optuna.exceptions import StorageInternalError

from autoflow.search.ledger import MOST_RETRIES
from autoflow.search.owners import new_owner
from autoflow.search.results import finished
from autoflow.search.settings import SearchSettings
from autoflow.search.worker import REFUSED, run_worker
from selfflow.runs.errors import UserError
from selfflow.runs.interrupt import delayed_interrupt
from selfflow.runs.progress import console

_METHOD: Final = "spawn"  # CUDA and threads do not survive a fork
_LOOK = 0.5  # seconds between two looks at a request to stop
_PATIENCE = 60.0  # seconds that workers have to stop after a step


@dataclass
class Worker:
    """A process that runs trials.

    Attributes:
        place: its number among the workers of this command.
        owner: its name in the study.
        process: itself.
        said: where it says what the user did wrong.
    """

    place: int
    owner: str
    process: BaseProcess
    said: Connection


class Workers:
    """The processes of one command.

    Args:
        settings: of the search; `workers` says how many.
        path: the run folder.
        device: of the command; of several GPUs each worker has its own where none is named.
        deadline: `time.time()` after which no trial is run, or None.
    """

    def __init__(
        self, settings: SearchSettings, path: Path, device: torch.device, deadline: float | None
    ) -> None:
        self.settings, self.path, self.device, self.deadline = settings, path, device, deadline
        self._alive: list[Worker] = []

    def owners(self) -> Set[str]:
        """Return the names of those that are alive."""
        return {worker.owner for worker in self._alive}

    def run(self, study: optuna.Study) -> None:
        """Let the workers take trials until there are none to take; replace those that die.

        Args:
            study: theirs, to see whether anything comes to an end.

        Raises:
            UserError: what a worker met, or that they die one after the other.
            KeyboardInterrupt: after ^C, when the workers have left checkpoints.
        """
        # Of as many deaths, two or more were of the same trial until it was given up.
        deaths = Deaths(study, (MOST_RETRIES + 1) * self.settings.workers)
        try:
            with delayed_interrupt() as interrupt:
                for place in range(self.settings.workers):
                    self._start(place)
                while self._alive and not interrupt.requested:
                    for worker in self._ended():
                        if self._failed(worker):
                            deaths.count(worker)
                            self._start(worker.place)
                if interrupt.requested:
                    raise KeyboardInterrupt
        except (KeyboardInterrupt, UserError):
            self._stop()
            raise
        finally:
            self._kill()

    def _start(self, place: int) -> None:
        context = multiprocessing.get_context(_METHOD)
        here, there = context.Pipe(duplex=False)
        owner = new_owner()
        threads = max(1, torch.get_num_threads() // self.settings.workers)
        device = str(device_of(self.device, place))
        process = context.Process(
            target=run_worker,
            args=(self.settings, self.path, device, threads, owner, self.deadline, there),
            name=f"worker {place + 1}",
            daemon=True,
        )
        process.start()
        there.close()
        self._alive.append(Worker(place, owner, process, here))

    def _ended(self) -> list[Worker]:
        """Return the workers that have ended, after a moment's wait; they are no longer alive."""
        wait([worker.process.sentinel for worker in self._alive], _LOOK)
        ended = [worker for worker in self._alive if not worker.process.is_alive()]
        self._alive = [worker for worker in self._alive if worker not in ended]
        return ended

    def _failed(self, worker: Worker) -> bool:
        """Return whether a worker ended before its work; raise what it says it cannot do."""
        if worker.process.exitcode == REFUSED and worker.said.poll():
            raise UserError(worker.said.recv_bytes().decode())
        worker.said.close()
        return worker.process.exitcode != 0

    def _stop(self) -> None:
        """Ask the workers to stop after the step that they are at."""
        for worker in self._alive:
            worker.process.terminate()
        end = time.monotonic() + _PATIENCE
        for worker in self._alive:
            worker.process.join(max(end - time.monotonic(), 0.0))

    def _kill(self) -> None:
        for worker in self._alive:
            worker.process.kill()
            worker.process.join()
        self._alive = []


class Deaths:
    """Counts the workers that died since a trial last came to an end.

    Args:
        study: theirs.
        most: that are replaced; of one more, the cause lies deeper.
    """

    def __init__(self, study: optuna.Study, most: int) -> None:
        self.study, self.most = study, most
        self._known, self._count = -1, 0

    def count(self, worker: Worker) -> None:
        """Say that a worker died, and of what; UserError if too many did."""
        try:
            ended = len(finished(self.study))
        except StorageInternalError:
            ended = self._known  # out of reach; the next worker says so
        self._count = self._count + 1 if ended == self._known else 1
        self._known = ended
        cause = describe_exit(worker.process.exitcode)
        if self._count > self.most:
            raise UserError(
                f"{self._count} workers died without finishing a trial, the last one {cause}"
            )
        console.print(
            f"Worker {worker.place + 1} {cause}; its trial is tried again.", soft_wrap=True
        )


def describe_exit(status: int | None) -> str:
    """Return how a process ended, from its exit status as Python gives it."""
    if status is None or status >= 0:
        return f"ended with exit status {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    hint = " (out of memory? fewer workers need less)" if -status == signal.SIGKILL else ""
    return f"was ended by {name}{hint}"


def device_of(device: torch.device, place: int) -> torch.device:
    """Return the device of a worker: of several GPUs, if none was named, each takes the next."""
    if device.type != "cuda" or device.index is not None:
        return device
    return torch.device("cuda", place % torch.cuda.device_count())
