"""The end of a search: by one process of a folder, within the budget; see also test_work."""

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from books import measured
from known import moving_target, small_settings
from optuna.trial import TrialState

from autoflow.search import run as search_run
from autoflow.search.budget import REPORT
from autoflow.search.conclusion import Conclusion
from autoflow.search.entry import Entry, Outcome
from autoflow.search.final import FOLDER, TimeLeft
from autoflow.search.run import run_search
from autoflow.search.settings import SearchSettings
from selfflow.runs.config import replace_values
from selfflow.runs.errors import UserError

CPU = torch.device("cpu")
SETTINGS = replace_values(
    small_settings("moving"), {"trial.start": "scratch", "final_start": "scratch"}
)


class Ending:
    """What a search ends with, by stand-ins that take a while."""

    def __init__(self) -> None:
        self.trained: list[TimeLeft | None] = []
        self.reports = 0
        self.steps: int | None = None

    def train(
        self, settings: SearchSettings, path: Path, device: torch.device, left: TimeLeft | None
    ) -> None:
        time.sleep(0.2)
        self.trained.append(left)
        (path / FOLDER).mkdir(exist_ok=True)
        steps = self.steps or settings.final.steps
        (path / FOLDER / "results.json").write_text(json.dumps({"steps": steps}))

    def conclude(self, path: Path, bench: object, trials: list[Any]) -> Conclusion:
        self.reports += 1
        (path / "results.json").write_text(json.dumps({"trials": len(trials)}))
        return Conclusion({"trials": len(trials)}, path / "report.html")


@pytest.fixture
def ending(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ending:
    ending = Ending()
    monkeypatch.setattr("autoflow.search.bench.open_target", lambda *_: moving_target())
    monkeypatch.setattr(search_run, "train_final", ending.train)
    monkeypatch.setattr(search_run, "conclude", ending.conclude)
    monkeypatch.setattr("autoflow.search.watching._PAUSE", 0.01)
    return ending


def trials_take(seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    def stand_in(entry: Entry, *_: object) -> None:
        entry.record([measured(2, 1.0 + entry.trial.number)])
        entry.end(Outcome(TrialState.COMPLETE, 1.0 + entry.trial.number), seconds)

    monkeypatch.setattr("autoflow.search.work.run_trial", stand_in)


def test_of_several_processes_in_a_folder_one_ends_the_search(
    tmp_path: Path, ending: Ending, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials_take(0.1, monkeypatch)
    run_search(SETTINGS, tmp_path / "run", CPU, train=False)
    found: list[Conclusion] = []
    threads = [
        threading.Thread(target=lambda: found.append(run_search(SETTINGS, tmp_path / "run", CPU)))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ending.trained) == 1
    assert ending.reports == 2  # that of the first command, and of the one that trained
    assert [each.results["trials"] for each in found] == [3, 3, 3]


def test_a_training_that_others_had_no_time_to_end_is_gone_on_with(
    tmp_path: Path, ending: Ending, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials_take(0.1, monkeypatch)
    began = time.time() - 100
    monkeypatch.setattr(search_run.time, "time", lambda: began)
    ending.steps = 1
    for count in (1, 2, 3):
        run_search(SETTINGS, tmp_path / "run", CPU)
        assert len(ending.trained) == min(count, 2)
        ending.steps = None


def test_a_budget_keeps_time_for_the_training_and_the_report(
    tmp_path: Path, ending: Ending, monkeypatch: pytest.MonkeyPatch
) -> None:
    deadlines: list[float] = []
    monkeypatch.setattr(search_run, "work", lambda *_, deadline, **__: deadlines.append(deadline))
    hour = replace_values(SETTINGS, {"budget": 3600.0, "final.steps": 100})
    begun = time.time() - 100.0
    with pytest.raises(UserError, match="no trial is complete after --budget 1h 00m"):
        run_search(hour, tmp_path / "run", CPU, begun=begun, step=2.0)
    with pytest.raises(UserError, match="no trial is complete"):
        run_search(hour, tmp_path / "run", CPU, begun=begun, train=False, step=2.0)
    with_training, without = (deadline - begun for deadline in deadlines)
    assert 3600 - 200 - REPORT - 30 < with_training < 3600 - 200 - REPORT
    assert 3600 - REPORT - 30 < without < 3600 - REPORT


def test_the_training_is_given_what_the_trials_have_left(
    tmp_path: Path, ending: Ending, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials_take(0.1, monkeypatch)
    hour = replace_values(SETTINGS, {"budget": 3600.0, "final.steps": 100})
    run_search(hour, tmp_path / "run", CPU, step=2.0)
    (left,) = ending.trained
    assert left is not None
    assert left.step == 2.0
    assert 3500 - REPORT < left.seconds < 3600 - REPORT
    run_search(SETTINGS, tmp_path / "run", CPU)
    assert ending.trained[1] is None


def test_trials_that_would_not_end_in_time_are_left_for_later(
    tmp_path: Path, ending: Ending, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials_take(3000.0, monkeypatch)
    hour = replace_values(SETTINGS, {"budget": 3600.0, "final.steps": 100})
    found = run_search(hour, tmp_path / "run", CPU, step=10.0)
    # 1000 s are kept for the training, so that after the first trial 3000 s are too many.
    assert found.results["trials"] == 1
    assert len(ending.trained) == 1
    assert run_search(SETTINGS, tmp_path / "run", CPU).results["trials"] == 3
