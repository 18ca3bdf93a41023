"""One trial: a network is trained on the scenes of a set and measured, rung by rung."""

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.trial import TrialState

from autoflow.search.bench import Bench
from autoflow.search.deadline import is_past
from autoflow.search.entry import Entry, Outcome
from autoflow.search.heart import Heart
from autoflow.search.objective import is_finite, measure_target
from autoflow.search.pruning import Pruning
from autoflow.search.settings import Rung
from autoflow.search.trial_folder import TrialFolder
from autoflow.train import train_on_scenes
from selfflow.raft import RAFT
from selfflow.runs.config import replace_values
from selfflow.runs.errors import DivergedError, UserError
from selfflow.runs.loop import Wish

# The same scenes' numbers are drawn in all trials, so that their difference is that of their sets;
# they are not those that the base network has seen. Later generations see further ones.
TRIAL_SCENES = 1_000_001

# RuntimeError is also what torch raises, out of memory included.
FAILURES = (DivergedError, RuntimeError, ValueError, ArithmeticError, MemoryError)


class CutOff(Exception):
    """A trial is left before its end, to be gone on with."""


@dataclass(frozen=True)
class Start:
    """What an attempt at a trial goes on from.

    Attributes:
        folder: where its checkpoints lie.
        parent: the network that it starts from where there is none; None: the search's own.
        note: what the training depends on besides; a checkpoint of something else is not taken.
    """

    folder: TrialFolder
    parent: Path | None
    note: Mapping[str, Any]


class Attempt:
    """One attempt at a trial: from where it is, to its end or until it is cut off.

    Args:
        entry: of the trial in its study.
        bench: what trials share.
        heart: of the trial.
        deadline: `time.time()` at which it stops; None: none.
    """

    def __init__(self, entry: Entry, bench: Bench, heart: Heart, deadline: float | None) -> None:
        settings = bench.settings
        self.entry, self.bench, self.heart, self.deadline = entry, bench, heart, deadline
        self.pruning = Pruning(settings)
        self.course = list(entry.trial.course)
        self.before = entry.trial.generation * settings.trial.steps
        self.rungs = {rung.step: rung for rung in settings.ladder()}
        self.last = self.rungs[settings.trial.steps]

    def run(self, start: Start) -> float:
        """Return Ω after the last step.

        Raises:
            optuna.TrialPruned: it is hopeless.
            DivergedError: something is not finite.
            CutOff: the deadline is reached, or the trial was taken for dead.
        """
        settings, trial = self.bench.settings, self.entry.trial
        network = self.bench.network(start.parent)
        trained = self.bench.base is not None or start.parent is not None
        result = train_on_scenes(
            network,
            [replace_values(self.bench.start, trial.parameters)],
            settings.trial.apply(settings.training, trained=trained),
            seed=settings.seed + TRIAL_SCENES + trial.generation,
            photographs=self.bench.photographs,
            run=start.folder.open(start.note),
            title=f"Trial {trial.number}",
            watch=lambda step: self._watch(network, step),
        )
        if result.steps < self.last.step:
            raise CutOff
        if self._measured() < self.before + self.last.step:
            self._measure(network, self.last)  # the checkpoint was ahead of what the study knows
        start.folder.save_network(network, self.course[-1].as_dict() | {"key": trial.key})
        return self.course[-1].omega

    def _watch(self, network: RAFT, step: int) -> Wish | None:
        if self.heart.stopped.is_set():
            raise CutOff
        self.heart.step = self.before + step
        rung = self.rungs.get(step)
        if rung is not None and self.before + step > self._measured():
            self._measure(network, rung)
            self._prune(rung)
        if is_past(self.deadline):
            return Wish.STOP
        return None if rung is None else Wish.CHECKPOINT

    def _measured(self) -> int:
        return self.course[-1].step if self.course else 0

    def _measure(self, network: RAFT, rung: Rung) -> None:
        pairs, metric = self.bench.pairs.at(rung.pairs, rung.side), self.bench.settings.metric
        measured = measure_target(network, pairs, metric, self.before + rung.step)
        if not is_finite(measured):
            raise DivergedError(f"Ω is not finite after {rung.step} steps")
        self.course.append(measured)
        self.entry.record(self.course)

    def _prune(self, rung: Rung) -> None:
        if rung == self.last:
            return
        hopeless = self.pruning.is_hopeless(self.entry.study, self.entry.trial_id)
        if hopeless and not self.entry.trial.is_default:
            raise optuna.TrialPruned(f"hopeless after {rung.step} of {self.last.step} steps")


def run_trial(entry: Entry, bench: Bench, start: Start, deadline: float | None = None) -> None:
    """Train and measure what a trial proposes, and store how it ended.

    A trial that diverges, meets a NaN or cannot be run at all has failed, with the reason. One that
    is left early, at the deadline or on the way out, can be gone on with. What comes to an end
    after the trial was taken for dead is dropped.

    Args:
        entry: of the trial in its study.
        bench: what trials share.
        start: what it goes on from.
        deadline: `time.time()` at which it stops; None: none.

    Raises:
        UserError: what it needs cannot be read or written.
    """
    begun = time.monotonic()
    try:
        with Heart(entry.study, entry.trial_id) as heart:
            outcome = _outcome(Attempt(entry, bench, heart, deadline), start)
        entry.end(outcome, time.monotonic() - begun)
    except BaseException as error:
        with suppress(UpdateFinishedTrialError, StorageInternalError):
            entry.stop(time.monotonic() - begun)
        if not isinstance(error, CutOff | UpdateFinishedTrialError):
            raise


def _outcome(attempt: Attempt, start: Start) -> Outcome:
    try:
        return Outcome(TrialState.COMPLETE, attempt.run(start))
    except optuna.TrialPruned as pruned:
        return Outcome(TrialState.PRUNED, reason=str(pruned))
    except (UserError, *FAILURES) as error:
        if isinstance(error, UpdateFinishedTrialError) or isinstance(error.__cause__, OSError):
            raise  # not the set is to blame: somebody else has the trial, or the disk is full
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        if isinstance(error, DivergedError):
            reason = reason.partition(";")[0]  # what follows is where its checkpoint was
        return Outcome(TrialState.FAIL, reason=reason)
