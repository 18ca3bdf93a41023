"""The outcomes of the trainings, read back from the run folder."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmarks.evidence.trainings import Training, done

TERMS = ("photometric_charged", "photometric", "smoothness", "distillation")
OMEGA, ERROR = "omega", "log_aepe"


@dataclass(frozen=True)
class Outcome:
    """A network measured on a target after some steps.

    Attributes:
        training: which network.
        step: steps of training done.
        target: where it was measured.
        values: Ω (`omega`) and its raw terms, means over the pairs, and `log_aepe`, the mean over
            the pairs of the logarithm of their end-point error in px, so that a scene of large
            motion does not rule the others.
    """

    training: Training
    step: int
    target: str
    values: Mapping[str, float]


@dataclass(frozen=True)
class Outcomes:
    """All that was measured.

    Attributes:
        every: the measurements.
        steps: how many there are of each kind of training, "short" and "full".
        failed: keys of trainings that diverged.
        seconds: that all trainings took, with their measurements.
    """

    every: Sequence[Outcome]
    steps: Mapping[str, int]
    failed: Sequence[str]
    seconds: float

    def final(self, training: Training, target: str) -> Mapping[str, float] | None:
        """Return what a network amounts to after its last step; None where it is missing."""
        return self.at(training, target, self.steps.get(training.start, 0))

    def at(self, training: Training, target: str, step: int) -> Mapping[str, float] | None:
        """Return what was measured after `step` steps; None where it is missing."""
        return self._by_place.get((training, target, step))

    @cached_property
    def _by_place(self) -> dict[tuple[Training, str, int], Mapping[str, float]]:
        return {(each.training, each.target, each.step): each.values for each in self.every}


def read_outcomes(path: Path) -> Outcomes:
    """Return the outcomes in a run folder."""
    contents = list(done(path))
    return Outcomes(
        every=[
            Outcome(_training(each), m["step"], m["target"], _means(m["pairs"]))
            for each in contents
            if each["failed"] is None
            for m in each["measured"]
        ],
        steps={each["start"]: each["steps"] for each in contents},
        failed=[_training(each).key for each in contents if each["failed"] is not None],
        seconds=sum(each["seconds"] for each in contents),
    )


def _training(content: Mapping[str, Any]) -> Training:
    return Training(content["sets"], content["start"], content["seed"])


def _means(pairs: Mapping[str, Sequence[float]]) -> dict[str, float]:
    means = {name: sum(pairs[name]) / len(pairs[name]) for name in (OMEGA, *TERMS)}
    errors = [math.log(error) for error in pairs["aepe"]]
    return means | {ERROR: sum(errors) / len(errors)}
