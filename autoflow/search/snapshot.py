"""Trials as they were read, given to Optuna's samplers and pruners as a study of their own."""

from collections.abc import Container, Sequence
from typing import Any

from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState


class Snapshot(InMemoryStorage):
    """A storage that holds the given trials; what is noted about one is forgotten.

    Args:
        trials: as whoever asks is to see them; they may differ from those of the study.
    """

    def __init__(self, trials: Sequence[FrozenTrial]) -> None:
        super().__init__()
        self._trials = trials

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        """Return the given trials, or those of some states."""
        return [trial for trial in self._trials if states is None or trial.state in states]

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Forget it: the trial may not exist yet, or not here."""
