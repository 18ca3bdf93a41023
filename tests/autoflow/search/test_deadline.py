"""A worker that has to end at a given time begins nothing that would not."""

import time
from pathlib import Path

import optuna
import pytest
import torch
from books import measured, new_study
from known import moving_target, small_settings
from optuna.trial import TrialState

from autoflow.search.bench import Bench, open_bench
from autoflow.search.entry import Entry, Outcome
from autoflow.search.ledger import Ledger
from autoflow.search.results import finished, read_trials
from autoflow.search.strategies import strategy_of
from autoflow.search.work import work
from autoflow.space import distributions


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr("autoflow.search.bench.open_target", lambda *_: moving_target())
    return open_bench(small_settings("moving", trials=9), tmp_path, torch.device("cpu"))


@pytest.fixture
def study(tmp_path: Path) -> optuna.Study:
    return new_study(tmp_path)


def takes(seconds: float, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let trials say that they took so long; return the keys of those that are run."""
    run: list[str] = []

    def stand_in(entry: Entry, *_: object) -> None:
        run.append(entry.trial.key)
        entry.record([measured(2, 1.0)])
        entry.end(Outcome(TrialState.COMPLETE, 1.0), seconds)

    monkeypatch.setattr("autoflow.search.work.run_trial", stand_in)
    return run


def test_a_trial_that_would_take_longer_than_is_left_is_not_begun(
    tmp_path: Path, bench: Bench, study: optuna.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = takes(1000.0, monkeypatch)
    begun = time.time()
    work(study, bench, tmp_path, owner="me", deadline=begun + 500)
    # Nobody knows how long the first one takes.
    assert run == ["start-0"]
    assert time.time() - begun < 60
    work(study, bench, tmp_path, owner="me", deadline=time.time() + 1500)
    assert len(run) == 9


def test_with_enough_time_all_are_run(
    tmp_path: Path, bench: Bench, study: optuna.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = takes(0.01, monkeypatch)
    work(study, bench, tmp_path, owner="me", deadline=time.time() + 500)
    assert len(run) == len(set(run)) == len(finished(study)) == 9


def test_after_the_deadline_nothing_is_begun(
    tmp_path: Path, bench: Bench, study: optuna.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = takes(0.01, monkeypatch)
    work(study, bench, tmp_path, owner="me", deadline=time.time() - 1)
    assert run == []
    assert read_trials(study) == []


def test_a_trial_that_was_cut_off_is_gone_on_with_all_the_same(
    tmp_path: Path, bench: Bench, study: optuna.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = takes(1000.0, monkeypatch)
    work(study, bench, tmp_path, owner="me", deadline=time.time() + 500)
    strategy = strategy_of(bench.settings, bench.space)
    entry = Ledger(study, tmp_path, "me", distributions(bench.space), 9).take(strategy)
    assert entry is not None
    entry.stop(1.0)
    work(study, bench, tmp_path, owner="me", deadline=time.time() + 500)
    assert run == ["start-0", "start-1"]
    assert len(finished(study)) == 2
