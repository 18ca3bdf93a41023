"""What a thousand trials of sixty parameters cost the worker that keeps the books."""

import os
import time
from pathlib import Path

import pytest
from books import Counting, ledger_of, measured, opened, taken
from optuna.trial import TrialState
from test_pruning import STEPS, settings_for

from autoflow.entry import Outcome
from autoflow.pruning import Pruning
from autoflow.results import read_trials

TRIALS, PARAMETERS, LAST = 1000, 60, 100


def resident() -> int:
    """Return the process's memory in bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def keep_books(url: str, path: Path, trials: int) -> list[float]:
    """Run trials that neither train nor measure; return the seconds that each took."""
    study = opened(url)
    ledger = ledger_of(study, path, limit=trials, count=PARAMETERS)
    strategy, pruning, seconds = Counting(PARAMETERS), Pruning(settings_for("hyperband")), []
    while not ledger.is_complete():
        begun = time.perf_counter()
        entry, course = taken(ledger, strategy), []
        for step in STEPS:
            # The later the better: none is given up, so that all rungs are paid for.
            course.append(measured(step, float(trials - entry.trial.number)))
            entry.record(course)
            if step < STEPS[-1]:
                assert not pruning.is_hopeless(study, entry.trial_id)
        entry.end(Outcome(TrialState.COMPLETE, course[-1].omega), 1.0)
        assert len(read_trials(study)) == entry.trial.number + 1
        seconds.append(time.perf_counter() - begun)
    return seconds


@pytest.mark.slow
def test_a_thousand_trials_cost_little_time_and_memory(tmp_path: Path) -> None:
    keep_books(f"sqlite:///{tmp_path / 'warm.db'}", tmp_path, 5)
    before = resident()
    seconds = keep_books(f"sqlite:///{tmp_path / 'study.db'}", tmp_path, TRIALS)
    grown = resident() - before
    typical = sorted(seconds[-LAST:])[LAST // 2]
    print(f"\n{typical:.3f} s a trial in the end, memory + {grown / 2**20:.0f} MB")
    assert typical < 1.0  # of 2 s, a tenth of a trial of 20 s, on a machine that is busy
    assert grown < 100 * 2**20
