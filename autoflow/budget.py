"""`--budget`: when a command is to be done, and what of its time the trials may take."""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

from autoflow.results import TrialResult

MOST_KEPT = 0.5  # share of the time left; a search without trials would find nothing
# Seconds for results and report. Measured: 24 trials of 74 parameters take 10 s on one CPU core.
REPORT = 20.0


@dataclass(frozen=True)
class Budget:
    """The time that a command has.

    Attributes:
        end: `time.time()` at which it is to be done.
    """

    end: float

    @classmethod
    def starting(cls, begun: float, seconds: float | None) -> "Budget | None":
        """Return the budget of `seconds` since `begun`, or None if there is none."""
        return None if seconds is None else cls(begun + seconds)

    def left(self) -> float:
        """Return the seconds that are left, negative when it is over."""
        return self.end - time.time()

    def keeping(self, seconds: float) -> float:
        """Return when trials have to end, as `time.time()`, for `seconds` to be left after them.

        At most half of what is left is kept: a training can be shorter.
        """
        return self.end - min(seconds, MOST_KEPT * max(self.left(), 0.0))


def typical_seconds(trials: Sequence[TrialResult]) -> float:
    """Return how long a trial takes that is not given up, as a rule; 0 before one is complete."""
    taken = [trial.seconds for trial in trials if trial.state == "complete"]
    return statistics.median(taken) if taken else 0.0
