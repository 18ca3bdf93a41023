import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from known import made_up_trials, moving_target, small_settings

from autoflow.search import budget as module
from autoflow.search.bench import open_bench
from autoflow.search.budget import REPORT, Budget, Timetable
from autoflow.search.results import typical_seconds
from autoflow.train import Cost
from selfflow.runs.config import replace_values


def test_a_budget_counts_from_the_beginning_of_the_command() -> None:
    now = time.time()
    budget = Budget.starting(now - 10, 60.0)
    assert budget is not None
    assert budget.end == now + 50
    assert budget.left() == pytest.approx(50, abs=1)
    assert Budget.starting(now, None) is None


def test_time_is_kept_for_what_follows_the_trials() -> None:
    budget = Budget(time.time() + 100)
    assert budget.end - budget.keeping(30) == pytest.approx(30, abs=0.01)
    assert budget.keeping(0) == budget.end
    # At most half: a search without trials would find nothing.
    assert budget.end - budget.keeping(1000) == pytest.approx(50, abs=1)
    over = Budget(time.time() - 5)
    assert over.keeping(30) == over.end


@pytest.mark.parametrize(
    ("left", "train", "step", "trials", "training"),
    [
        (1000.0, True, 2.0, 200 + REPORT + 8, REPORT + 8),
        (1000.0, False, 2.0, REPORT + 8, REPORT + 8),
        (1000.0, True, 50.0, 500, REPORT + 8),
        (1000.0, True, None, 300 + REPORT + 8, REPORT + 8),
    ],
)
def test_parts_of_a_search_end_in_turn(
    left: float,
    train: bool,
    step: float | None,
    trials: float,
    training: float,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Kept at the end: 100 steps of training, 4 s for each measurement, and the report."""
    monkeypatch.setattr("autoflow.search.bench.open_target", lambda *_: moving_target())
    monkeypatch.setattr(module, "seconds_of", lambda *_: 4.0)
    monkeypatch.setattr(module, "measure_cost", lambda *_: Cost(3.0, 0))
    settings = replace_values(small_settings("moving"), {"final.steps": 100})
    bench = open_bench(settings, tmp_path, torch.device("cpu"))
    budget = Budget(time.time() + left)
    times = Timetable.of(budget, bench, train=train, step=step)
    assert budget.end - times.trials == pytest.approx(trials, abs=2)
    assert budget.end - times.training == pytest.approx(training, abs=0.01)
    monkeypatch.setattr(module, "measure_cost", lambda *_: Cost(7.0, 0))  # the machine is busy now
    assert times.left(bench).seconds == pytest.approx(left - training, abs=2)
    ample = left - training > 2 * 100 * (step or 3.0)
    assert times.left(bench).step == ((step or 3.0) if ample else 7.0)


def test_a_typical_trial_is_one_that_was_not_given_up() -> None:
    trials = [replace(t, seconds=10.0 + t.number) for t in made_up_trials(8)]
    # 2 is pruned, 5 failed: 10, 11, 13, 14, 16, 17 are left.
    assert typical_seconds(trials) == 13.5
    assert typical_seconds(trials[2:3]) == 0
    assert typical_seconds([]) == 0
