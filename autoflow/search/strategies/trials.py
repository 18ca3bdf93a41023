"""What strategies read from the trials so far."""

from collections.abc import Sequence

from autoflow.search.results import TrialResult

_STATES = ("complete", "pruned", "failed")


def next_number(trials: Sequence[TrialResult]) -> int:
    """Return the number after the highest one that ends a key: after "tpe-17" it is 18."""
    return 1 + max((int(trial.key.rpartition("-")[2]) for trial in trials), default=-1)


def by_key(trials: Sequence[TrialResult]) -> dict[str, TrialResult]:
    """Return the trials by their keys.

    Two workers may begin the same job at the same time; the later one of them withdraws.
    """
    return {trial.key: trial for trial in reversed(trials)}


def outcome(trial: TrialResult) -> tuple[int, int, float]:
    """Return what an ended trial is sorted by, the best first.

    Complete ones come first, by Ω; then pruned ones, the farthest first and by Ω among those that
    came equally far, since Ω is only compared at equal fidelity; then failed ones.
    """
    step = trial.last.step if trial.last else 0
    return _STATES.index(trial.state), -step, trial.omega
