import time
from dataclasses import replace

import pytest
from known import made_up_trials

from autoflow.budget import Budget, typical_seconds


def test_a_budget_counts_from_the_beginning_of_the_command() -> None:
    now = time.time()
    budget = Budget.starting(now - 10, 60.0)
    assert budget is not None
    assert budget.end == now + 50
    assert budget.left() == pytest.approx(50, abs=1)
    assert Budget.starting(now, None) is None


def test_time_is_kept_for_what_follows_the_trials() -> None:
    budget = Budget(time.time() + 100)
    assert budget.keeping(30) == pytest.approx(budget.end - 30)
    assert budget.keeping(0) == budget.end
    # At most half: a search without trials would find nothing.
    assert budget.keeping(1000) == pytest.approx(budget.end - 50, abs=1)
    over = Budget(time.time() - 5)
    assert over.keeping(30) == over.end


def test_a_typical_trial_is_one_that_was_not_given_up() -> None:
    trials = [replace(t, seconds=10.0 + t.number) for t in made_up_trials(8)]
    # 2 is pruned, 5 failed: 10, 11, 13, 14, 16, 17 are left.
    assert typical_seconds(trials) == 13.5
    assert typical_seconds(trials[2:3]) == 0
    assert typical_seconds([]) == 0
