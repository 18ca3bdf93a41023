"""What a study found, read back: its trials, and their order."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from autoflow.search.objective import Measurement

# A trial's system attribute, which optuna-dashboard does not show: it has a line for each rung.
MEASUREMENTS = "measurements"
# Another one: the last step that a running trial has told of.
STEP = "step"
# Names of a trial's user attributes.
REASON = "reason"
SECONDS = "seconds"
KEY = "key"
PARENT = "parent"
GENERATION = "generation"
RETRIES = "retries"
OWNER = "owner"
STOPPED = "stopped"

WITHDRAWN = ""  # the key of a trial whose own was somebody else's already

# The jobs that are the default set, trained from the search's own start.
DEFAULT_KEYS = ("start-0", "member-0-generation-0")

_STATES = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
}


@dataclass(frozen=True)
class TrialResult:
    """One trial of a search.

    Attributes:
        number: as Optuna counts.
        state: complete, pruned, failed or running.
        parameters: what was searched, by dotted name.
        course: the measurements in order of their steps.
        seconds: of wall clock.
        reason: why it failed or was pruned, else "".
        key: its name, which says where it comes from: "start-0", "tpe-17".
        parent: number of the trial whose network it went on with; None: the search's own start.
        generation: how many trials its network had been through before.
        retries: how many times it was begun before and ended with its process.
        owner: the process that ran it.
        step: of its network, the last that is known; it may be beyond the last measurement.
    """

    number: int
    state: str
    parameters: Mapping[str, float | int | bool]
    course: tuple[Measurement, ...]
    seconds: float
    reason: str
    key: str = ""
    parent: int | None = None
    generation: int = 0
    retries: int = 0
    owner: str = ""
    step: int = 0

    @property
    def is_default(self) -> bool:
        """Whether it is the default set, trained from the search's own start."""
        return self.key in DEFAULT_KEYS

    @property
    def last(self) -> Measurement | None:
        """The last measurement; of a complete trial it is the value of the trial."""
        return self.course[-1] if self.course else None

    @property
    def omega(self) -> float:
        """The last Ω; infinite where none was measured."""
        return self.last.omega if self.last else float("inf")


def read_trials(study: optuna.Study) -> list[TrialResult]:
    """Return the study's trials that count, in order; see `counted`."""
    return [read_trial(each) for each in counted(study.get_trials(deepcopy=False))]


def finished(study: optuna.Study) -> list[TrialResult]:
    """Return the trials that came to an end of their own."""
    return [trial for trial in read_trials(study) if trial.state != "running"]


def counted(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return the trials that count, in order: one a key, and none that was cut off or withdrawn.

    Of several with one key, which two workers began at the same moment, it is one that has ended,
    else the first.
    """
    chosen: dict[str | int, FrozenTrial] = {}
    for trial in sorted(trials, key=lambda t: (not t.state.is_finished(), t.number)):
        key = trial.user_attrs.get(KEY, trial.number)
        if key != WITHDRAWN and trial.state != TrialState.WAITING and not is_cut_off(trial):
            chosen.setdefault(key, trial)
    return sorted(chosen.values(), key=lambda trial: trial.number)


def is_cut_off(trial: FrozenTrial) -> bool:
    """Return whether a trial ended with its process: one that failed by itself says why."""
    return trial.state == TrialState.FAIL and REASON not in trial.user_attrs


def read_trial(trial: FrozenTrial) -> TrialResult:
    """Return what a study says of a trial that counts."""
    attributes: dict[str, Any] = trial.user_attrs
    course = tuple(Measurement(**values) for values in trial.system_attrs.get(MEASUREMENTS, []))
    return TrialResult(
        number=trial.number,
        state=_STATES[trial.state],
        parameters=trial.params,
        course=course,
        seconds=attributes.get(SECONDS, 0.0),
        reason=attributes.get(REASON, ""),
        key=attributes.get(KEY, ""),
        parent=attributes.get(PARENT),
        generation=attributes.get(GENERATION, 0),
        retries=attributes.get(RETRIES, 0),
        owner=attributes.get(OWNER, ""),
        step=max([trial.system_attrs.get(STEP, 0), *(each.step for each in course)]),
    )


def terms_of(measured: Measurement) -> str:
    """Return Ω and its terms in words."""
    said = (
        f"Ω {measured.omega:.4g}: photometric {measured.photometric:.3g}, "
        f"smoothness {measured.smoothness:.3g}, distillation {measured.distillation:.3g}, "
        f"covered {100 * measured.covered:.0f} %"
    )
    return said if measured.aepe is None else f"{said}, EPE {measured.aepe:.3g} px"


def typical_seconds(trials: Sequence[TrialResult]) -> float:
    """Return how long a trial takes that is not given up, as a rule; 0 before one is complete."""
    taken = [trial.seconds for trial in trials if trial.state == "complete"]
    return statistics.median(taken) if taken else 0.0


def ranked(trials: Sequence[TrialResult]) -> list[TrialResult]:
    """Return the complete trials of the highest last step, the lowest Ω first.

    Ω after fewer steps is another measure: of a population, its last complete generation counts.
    """
    complete = [(t.last.step, t) for t in trials if t.state == "complete" and t.last]
    longest = max((step for step, _ in complete), default=0)
    comparable = [trial for step, trial in complete if step == longest]
    return sorted(comparable, key=lambda trial: (trial.omega, trial.number))
