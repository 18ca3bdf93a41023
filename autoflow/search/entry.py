"""What a worker writes about the trial that it runs."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import optuna
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from autoflow.search.objective import Measurement
from autoflow.search.results import (
    MEASUREMENTS,
    REASON,
    SECONDS,
    STOPPED,
    read_trial,
    terms_of,
)


@dataclass(frozen=True)
class Outcome:
    """How a trial ended: complete with Ω, or pruned or failed for a reason."""

    state: TrialState
    omega: float | None = None
    reason: str = ""


class Entry:
    """A running trial of a study.

    What is written is refused, with optuna.exceptions.UpdateFinishedTrialError, if the trial was
    taken for dead in the meantime: somebody else may have begun it again.

    Args:
        study: it belongs to.
        trial_id: its number in the storage, where several studies may be.
    """

    def __init__(self, study: optuna.Study, trial_id: int) -> None:
        self.study, self.trial_id = study, trial_id
        self._storage = study._storage
        self.trial = read_trial(self.frozen())
        self._last = self.trial.last

    def frozen(self) -> FrozenTrial:
        """Return it as it is stored now."""
        return self._storage.get_trial(self.trial_id)

    def record(self, course: Sequence[Measurement]) -> None:
        """Store the measurements up to now."""
        values = [each.as_dict() for each in course]
        self._storage.set_trial_system_attr(self.trial_id, MEASUREMENTS, values)
        last = self._last = course[-1]
        said = f"after {last.step} steps, {terms_of(last)}"
        self._storage.set_trial_user_attr(self.trial_id, f"rung {len(course)}", said)
        self._storage.set_trial_intermediate_value(self.trial_id, last.step, last.omega)

    def end(self, outcome: Outcome, seconds: float) -> None:
        """Store how it ended, `seconds` after it was taken."""
        self._show_terms()
        self._storage.set_trial_user_attr(self.trial_id, SECONDS, self.trial.seconds + seconds)
        if outcome.state != TrialState.COMPLETE:
            self._storage.set_trial_user_attr(self.trial_id, REASON, outcome.reason)
        values = None if outcome.omega is None else [outcome.omega]
        self._storage.set_trial_state_values(self.trial_id, outcome.state, values)

    def _show_terms(self) -> None:
        """Store the last terms one by one, so that optuna-dashboard can show and plot them."""
        terms = {} if self._last is None else self._last.as_dict()
        for name, value in terms.items():
            if name not in ("step", "omega") and value is not None:
                self._storage.set_trial_user_attr(self.trial_id, name, value)

    def stop(self, seconds: float = 0.0) -> None:
        """Leave it to be gone on with, by anybody; it does not count as an attempt that failed."""
        self._storage.set_trial_user_attr(self.trial_id, SECONDS, self.trial.seconds + seconds)
        self._storage.set_trial_user_attr(self.trial_id, STOPPED, True)
        self._storage.set_trial_state_values(self.trial_id, TrialState.FAIL)


@contextmanager
def leaving(entry: Entry) -> Iterator[None]:
    """Leave a trial to be gone on with if the block fails; if it was taken for dead it is left."""
    try:
        yield
    except BaseException:
        with suppress(UpdateFinishedTrialError, StorageInternalError):
            entry.stop()
        raise
