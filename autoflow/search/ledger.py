"""Who runs which trial, kept in the study alone: nothing waits there, and nothing is stored twice.

Whoever wants work computes the next job, creates its trial as running, in one commit, and looks
again. If another one has the same key and counts, it withdraws and computes anew. A trial whose
process is gone is failed without a reason, so that its key is free: it is tried again before
anything new, and goes on from its checkpoint. Any number of processes on any hosts may do so
without a lock; a storage serialises the creation of trials.
"""

from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from autoflow.search.entry import Entry
from autoflow.search.owners import is_gone, taking_turns
from autoflow.search.results import (
    GENERATION,
    KEY,
    MEASUREMENTS,
    OWNER,
    PARENT,
    REASON,
    RETRIES,
    STEP,
    STOPPED,
    WITHDRAWN,
    counted,
    is_cut_off,
    read_trial,
)
from autoflow.search.storage import GRACE
from autoflow.search.strategies import Job, Strategy

MOST_RETRIES = 2


class Ledger:
    """The trials of a study, as one worker of it takes them.

    Args:
        study: whose trials.
        path: the run folder.
        owner: the worker.
        forms: the space that is searched, as Optuna has it.
        limit: trials that are wanted in all.
    """

    def __init__(
        self,
        study: optuna.Study,
        path: Path,
        owner: str,
        forms: Mapping[str, BaseDistribution],
        limit: int,
    ) -> None:
        self.study, self.path, self.owner = study, path, owner
        self.forms, self.limit = forms, limit
        self._storage: Any = study._storage  # Optuna's type says nothing of heartbeats
        self._study_id = study._study_id
        self._lent: set[int] = set()

    def is_complete(self) -> bool:
        """Return whether as many trials as are wanted have come to an end of their own."""
        trials = counted(self.study.get_trials(deepcopy=False))
        return sum(trial.state.is_finished() for trial in trials) >= self.limit

    def take(self, strategy: Strategy | None) -> Entry | None:
        """Return a new running trial of this worker's; None where there is none to run now.

        Without a strategy none is begun that has not been before.
        """
        with taking_turns(self.path):
            self._bury()
            while (template := self._next(strategy)) is not None:
                trial_id = self._storage.create_new_trial(self._study_id, template)
                if template.state == TrialState.RUNNING and self._counts(trial_id):
                    return Entry(self.study, trial_id)
        return None

    def _bury(self) -> None:
        """Fail the running trials whose process is gone.

        One that runs under this worker's own name, which is looking for work, was left when the
        storage was out of reach.
        """
        for trial in self._running():
            owner = trial.user_attrs.get(OWNER, "")
            with suppress(UpdateFinishedTrialError):  # somebody else was faster
                if owner == self.owner:
                    Entry(self.study, trial._trial_id).stop()
                elif is_gone(self.path, owner):
                    self._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
        optuna.storages.fail_stale_trials(self.study)
        for trial in self._running():
            self._lend(trial)

    def _running(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))

    def _lend(self, trial: FrozenTrial) -> None:
        """Record one heartbeat for an old trial, in case that its process died before the first.

        Optuna takes no trial for dead that has none.
        """
        assert trial.datetime_start is not None
        age = (datetime.now() - trial.datetime_start).total_seconds()
        if age > GRACE and trial._trial_id not in self._lent:
            self._lent.add(trial._trial_id)
            self._storage.record_heartbeat(trial._trial_id)

    def _next(self, strategy: Strategy | None) -> FrozenTrial | None:
        """Return the trial to be created: one again that was cut off, else what is proposed."""
        trials = self.study.get_trials(deepcopy=False)
        known = counted(trials)
        keys = {trial.user_attrs.get(KEY) for trial in known}
        for trial in trials:
            key = trial.user_attrs.get(KEY)
            if key not in keys and key not in (None, WITHDRAWN) and is_cut_off(trial):
                return self._again([t for t in trials if t.user_attrs.get(KEY) == key])
        if strategy is None or len(known) >= self.limit:
            return None
        job = strategy.next(self.study, [read_trial(trial) for trial in known])
        return None if job is None else self._first(job)

    def _first(self, job: Job) -> FrozenTrial:
        attributes = {KEY: job.key, OWNER: self.owner, GENERATION: job.generation, RETRIES: 0}
        if job.parent is not None:
            attributes[PARENT] = job.parent
        return optuna.trial.create_trial(
            state=TrialState.RUNNING,
            params=dict(job.parameters),
            distributions=dict(self.forms),
            user_attrs=attributes,
        )

    def _again(self, attempts: list[FrozenTrial]) -> FrozenTrial:
        """Return a trial that was cut off as one that goes on; in the end, as one that failed."""
        farthest = max(
            attempts, key=lambda t: (len(t.system_attrs.get(MEASUREMENTS, [])), t.number)
        )
        retries = max(t.user_attrs[RETRIES] + (STOPPED not in t.user_attrs) for t in attempts)
        changed: dict[str, Any] = {OWNER: self.owner, RETRIES: retries}
        state = TrialState.RUNNING
        if retries > MOST_RETRIES:
            changed[REASON] = f"its process ended {retries} times without a word (out of memory?)"
            state = TrialState.FAIL
        kept = {name: v for name, v in farthest.user_attrs.items() if name != STOPPED}
        return optuna.trial.create_trial(
            state=state,
            params=farthest.params,
            distributions=farthest.distributions,
            user_attrs=kept | changed,
            system_attrs={n: v for n, v in farthest.system_attrs.items() if n != STEP},
            intermediate_values=farthest.intermediate_values,
        )

    def _counts(self, trial_id: int) -> bool:
        """Return whether a trial is the one of its key that counts; else withdraw it."""
        if any(t._trial_id == trial_id for t in counted(self.study.get_trials(deepcopy=False))):
            return True
        self._storage.set_trial_user_attr(trial_id, KEY, WITHDRAWN)
        self._storage.set_trial_state_values(trial_id, TrialState.FAIL)
        return False
