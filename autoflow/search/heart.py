"""Signs of life of a running trial, how far it is, and the news that it was taken for dead."""

import threading
from types import TracebackType
from typing import Any

import optuna
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.trial import TrialState

from autoflow.search.results import STEP


class Heart:
    """A thread that records a trial's heartbeat as often as its storage wants it.

    Optuna's own thread lives inside `study.optimize`, and does not look at what became of the
    trial: a process that had been asleep would train on for nothing.

    Attributes:
        stopped: set once the trial is no longer running in its storage.
        step: to be set to the last step of its network; stored with a beat, for people to see.
    """

    def __init__(self, study: optuna.Study, trial_id: int) -> None:
        self.stopped = threading.Event()
        self.step = 0
        self._storage: Any = study._storage  # Optuna's type says nothing of heartbeats
        self._trial_id = trial_id
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> "Heart":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _beat(self) -> None:
        interval, told = self._storage.get_heartbeat_interval(), 0
        while not self._ended.is_set():
            try:
                self._storage.record_heartbeat(self._trial_id)
                if self._storage.get_trial(self._trial_id).state != TrialState.RUNNING:
                    self.stopped.set()
                elif self.step != told:
                    told = self.step
                    self._storage.set_trial_system_attr(self._trial_id, STEP, told)
            except UpdateFinishedTrialError:
                self.stopped.set()
            except StorageInternalError:
                pass  # out of reach for a moment; the next beat may get through
            self._ended.wait(interval)
