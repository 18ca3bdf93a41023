"""`--budget`: when a command is to be done, and what of its time its parts may take."""

import time
from dataclasses import dataclass

from autoflow.search.bench import Bench
from autoflow.search.final import TimeLeft
from autoflow.search.objective import measure_target
from autoflow.train import measure_cost
from selfflow.runs.cost import seconds_of

MOST_KEPT = 0.5  # share of the time left; a search without trials would find nothing
# Seconds kept for results and report, besides measuring networks. Measured: 8 s on one CPU core
# for 24 trials and for 100, of 74 parameters, two measurements of 24 pairs included.
REPORT = 20.0
_AMPLE = 2.0  # times what a training takes
_MEASUREMENTS = 2  # of the network at the end, and of zero flow


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


@dataclass(frozen=True)
class Timetable:
    """When the parts of a search with a budget are to end, as `time.time()`.

    Attributes:
        trials: no trial is run after this.
        training: the training at the end is done.
        step: seconds that a step of it took before the first trial.
    """

    trials: float
    training: float
    step: float

    @classmethod
    def of(
        cls, budget: Budget, bench: Bench, *, train: bool, step: float | None = None
    ) -> "Timetable":
        """Return the timetable of a search whose trials are to begin now.

        Args:
            budget: of the command.
            bench: what trials share. A measurement of its network is timed.
            train: whether there is a training at the end.
            step: seconds that a step of it takes; None: measured.
        """
        settings, device = bench.settings, bench.device
        if step is None:
            step = measure_cost([bench.start], settings.training, device).seconds
        network, metric = bench.network(), settings.metric.settled()
        measuring = seconds_of(lambda: measure_target(network, bench.pairs, metric), device)
        ending = REPORT + _MEASUREMENTS * measuring
        trials = budget.keeping(ending + settings.final.steps * step * train)
        return cls(trials, budget.end - ending, step)

    def left(self, bench: Bench) -> TimeLeft:
        """Return what the training at the end may take, if it begins now.

        Where it hardly fits, or not, a step is measured again: the machine may have more or less
        to do by now, and a training that is cut off has not brought its learning rate down.
        """
        settings, step = bench.settings, self.step
        if self.training - time.time() < _AMPLE * settings.final.steps * step:
            step = measure_cost([bench.start], settings.training, bench.device).seconds
        return TimeLeft(self.training - time.time(), step)
