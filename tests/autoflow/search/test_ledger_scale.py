"""What a thousand trials of sixty parameters cost the worker that keeps the books."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import pytest
from books import Counting, ledger_of, measured, opened, taken
from optuna.trial import TrialState
from test_pruning import STEPS, settings_for

from autoflow.search.entry import Outcome
from autoflow.search.pruning import Pruning
from autoflow.search.results import read_trials

TRIALS, PARAMETERS, LAST = 1000, 60, 100


def resident() -> int:
    """Return the process's memory in bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Cost:
    """Seconds that a trial's books took, waiting included, and those of this process's work."""

    waited: float
    worked: float


def slowness() -> float:
    """Return how many times longer work takes than it would if nothing else ran here, 1 or more."""
    begun, worked = time.perf_counter(), time.process_time()
    while (done := time.process_time() - worked) < 0.2:
        pass
    return max(1.0, (time.perf_counter() - begun) / done)


def assert_cheap(costs: Sequence[Cost], slowed: float) -> None:
    """Check that the books take less than a tenth of a trial of 20 s.

    Where others leave this process a tenth of a core, those 20 s are 200.
    """
    cost = Cost(median(c.waited for c in costs), median(c.worked for c in costs))
    print(f"\n{cost.waited:.3f} s a trial, {cost.worked:.3f} s of work; slowed {slowed:.1f} times")
    assert cost.waited < 2.0 * slowed
    assert cost.worked < 0.5


def keep_books(url: str, path: Path, trials: int) -> list[Cost]:
    """Run trials that neither train nor measure; return what each cost."""
    study = opened(url)
    ledger = ledger_of(study, path, limit=trials, count=PARAMETERS)
    strategy, pruning, costs = Counting(PARAMETERS), Pruning(settings_for("hyperband")), []
    while not ledger.is_complete():
        begun, worked = time.perf_counter(), time.process_time()
        entry, course = taken(ledger, strategy), []
        for step in STEPS:
            # The later the better: none is given up, so that all rungs are paid for.
            course.append(measured(step, float(trials - entry.trial.number)))
            entry.record(course)
            if step < STEPS[-1]:
                assert not pruning.is_hopeless(study, entry.trial_id)
        entry.end(Outcome(TrialState.COMPLETE, course[-1].omega), 1.0)
        assert len(read_trials(study)) == entry.trial.number + 1
        costs.append(Cost(time.perf_counter() - begun, time.process_time() - worked))
    return costs


@pytest.mark.slow
def test_a_thousand_trials_cost_little_time_and_memory(tmp_path: Path) -> None:
    keep_books(f"sqlite:///{tmp_path / 'warm.db'}", tmp_path, 5)
    before, slowed = resident(), slowness()
    costs = keep_books(f"sqlite:///{tmp_path / 'study.db'}", tmp_path, TRIALS)
    grown = (resident() - before) / 2**20
    assert_cheap(costs[-LAST:], (slowed + slowness()) / 2)
    print(f"memory + {grown:.0f} MB")
    assert grown < 100
