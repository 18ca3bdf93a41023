"""What a search spent: by trial, by outcome, and what pruning saved."""

from collections.abc import Sequence
from dataclasses import dataclass

from autoflow.search.report.tables import Row
from autoflow.search.results import TrialResult

BASE_NETWORK = "base network"
STATES = ("complete", "pruned", "failed", "running")


def own_steps(trial: TrialResult, length: int) -> int:
    """Return the steps that a trial of at most `length` steps trained, up to its last measurement.

    Those of its parents, from whose network it went on, are not its own.
    """
    return trial.last.step - trial.generation * length if trial.last else 0


def course_rows(trials: Sequence[TrialResult], length: int) -> list[Row]:
    """Return a row for each trial in order: what it measured last, the total cost, the best so far.

    Cost is summed over the trials in the order in which they began, whichever worker ran them. Only
    Ω after the most steps that any trial had completed by then counts as the best so far, so it may
    rise where a population's next generation begins.
    """
    rows: list[Row] = []
    steps, seconds = 0, 0.0
    longest = 0
    best: float | None = None
    for trial in trials:
        steps += own_steps(trial, length)
        seconds += trial.seconds
        if trial.state == "complete" and trial.last and trial.last.step >= longest:
            further = trial.last.step > longest
            best = trial.omega if best is None or further else min(best, trial.omega)
            longest = trial.last.step
        rows.append(
            {
                "trial": trial.number,
                "state": trial.state,
                "default": trial.is_default,
                "step": trial.last.step if trial.last else None,
                "omega": trial.omega if trial.last else None,
                "steps": steps,
                "seconds": seconds,
                "best": best,
                "best_step": longest or None,
            }
        )
    return rows


def spending_rows(trials: Sequence[TrialResult], length: int) -> list[Row]:
    """Return trials, steps and seconds by outcome, and what those that were pruned left undone."""
    rows = []
    for state in STATES:
        found = [trial for trial in trials if trial.state == state]
        done = sum(own_steps(trial, length) for trial in found)
        rows.append(
            {
                "state": state,
                "trials": len(found),
                "steps": done,
                "seconds": sum(trial.seconds for trial in found),
                "steps_saved": len(found) * length - done if state == "pruned" else 0,
            }
        )
    return rows


@dataclass(frozen=True)
class Part:
    """What a search did beside its trials.

    Attributes:
        name: "base network" or "training at the end".
        steps: of training.
        seconds: they took.
    """

    name: str
    steps: int
    seconds: float


def part_rows(parts: Sequence[Part]) -> list[Row]:
    """Return a row for each part that took steps."""
    return [
        {"part": part.name, "steps": part.steps, "seconds": part.seconds}
        for part in parts
        if part.steps
    ]


def saved_share(rows: Sequence[Row]) -> float:
    """Return the share of the steps of trials that pruning saved, of all that it left or saved."""
    saved = sum(row["steps_saved"] for row in rows)
    done = sum(row["steps"] for row in rows)
    return saved / (saved + done) if saved else 0.0


def saved_seconds(rows: Sequence[Row]) -> float:
    """Return the seconds that the saved steps would have taken, at the pace of the trials' own."""
    done = sum(row["steps"] for row in rows)
    pace = sum(row["seconds"] for row in rows) / done if done else 0.0
    return pace * sum(row["steps_saved"] for row in rows)


def failure_rows(trials: Sequence[TrialResult], length: int) -> list[Row]:
    """Return a row for each trial that failed: how far it came, and why it went no further."""
    return [
        {
            "trial": trial.number,
            "key": trial.key,
            "retries": trial.retries,
            "steps": own_steps(trial, length),
            "seconds": trial.seconds,
            "reason": trial.reason,
        }
        for trial in trials
        if trial.state == "failed"
    ]
