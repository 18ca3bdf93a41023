"""A search as a person sees it while it is at work: a live table, or a line for each trial."""

import threading
import time
from collections.abc import Callable, Iterator, Set
from contextlib import contextmanager
from datetime import datetime

import optuna
from optuna.exceptions import StorageInternalError
from optuna.trial import FrozenTrial
from rich.text import Text

from autoflow.search.live_table import Moment, search_table, time_left
from autoflow.search.results import TrialResult, counted, ranked, read_trial, terms_of
from autoflow.search.settings import SearchSettings
from selfflow.runs.progress import console, format_duration, live

_PAUSE = 1.0  # seconds between two looks at the study

Owners = Callable[[], Set[str]]


@contextmanager
def watched(
    study: optuna.Study,
    settings: SearchSettings,
    owners: Owners,
    deadline: float | None = None,
) -> Iterator[None]:
    """Show what goes on in a study, whoever works on it, while the block runs.

    Args:
        study: looked at about once a second.
        settings: of the search.
        owners: of the workers here that are alive.
        deadline: `time.time()` after which no trials are run, or None.
    """
    watch = Watch(study, settings, owners, deadline)
    if console.is_terminal:
        with live(watch.table):
            yield
        return
    lines = TrialLines(settings, watch.look())
    ended = threading.Event()

    def follow() -> None:
        while not ended.wait(_PAUSE):
            lines.say(watch.look())

    thread = threading.Thread(target=follow, name="watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        lines.say(watch.look())


class Watch:
    """Looks at a study; where its storage does not answer, what was seen last stays."""

    def __init__(
        self,
        study: optuna.Study,
        settings: SearchSettings,
        owners: Owners,
        deadline: float | None = None,
    ) -> None:
        self.study, self.settings = study, settings
        self.owners, self.deadline = owners, deadline
        self._seen = Moment(())
        self._ended: dict[int, TrialResult] = {}

    def look(self) -> Moment:
        """Return the search as it is now."""
        try:
            stored = self.study.get_trials(deepcopy=False)
        except StorageInternalError:
            return self._seen
        known = counted(stored)
        trials = [self._read(trial) for trial in known]
        others = {trial.owner for trial in trials if trial.state == "running"}
        now = datetime.now()
        self._seen = Moment(
            trials,
            elapsed={
                trial.number: max((now - (trial.datetime_start or now)).total_seconds(), 0.0)
                for trial in known
                if not trial.state.is_finished()
            },
            workers=len(others | self.owners()),
            seconds_left=None if self.deadline is None else self.deadline - time.time(),
        )
        return self._seen

    def _read(self, trial: FrozenTrial) -> TrialResult:
        """Return a trial; one that has ended is read once."""
        if trial.number in self._ended:
            return self._ended[trial.number]
        result = read_trial(trial)
        if trial.state.is_finished():
            self._ended[trial.number] = result
        return result

    def table(self) -> Text:
        """Return what the terminal is to show now."""
        size = console.size
        return search_table(self.settings, self.look(), width=size.width, height=size.height)


class TrialLines:
    """One line for each trial that ends: how, Ω and its terms, the best so far, time left."""

    def __init__(self, settings: SearchSettings, begin: Moment) -> None:
        self.settings = settings
        self._said = {trial.number for trial in begin.ended}
        if self._said:
            console.print(f"{len(self._said)} of {settings.trials} trials are done.")

    def say(self, moment: Moment) -> None:
        """Print the lines of the trials that have ended since the last time."""
        left = time_left(moment, self.settings.trials)
        order = ranked(moment.trials)
        best = f"best {order[0].omega:.4g} (trial {order[0].number})" if order else "no best yet"
        for trial in moment.ended:
            if trial.number in self._said:
                continue
            self._said.add(trial.number)
            parts = [
                f"trial {trial.number:>3} {trial.state:<8}",
                _terms(trial),
                format_duration(trial.seconds),
                best,
                *([f"{format_duration(left)} left"] if left else []),
            ]
            console.print(" | ".join(parts), markup=False, soft_wrap=True)


def _terms(trial: TrialResult) -> str:
    last = trial.last
    if trial.state == "failed" or last is None:
        return trial.reason
    return terms_of(last)
