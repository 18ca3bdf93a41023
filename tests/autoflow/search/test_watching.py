"""What a person sees of a search: lines where there is no terminal, a live table on one."""

import time
from io import StringIO

import optuna
import pytest
from known import made_up_trials, small_settings
from optuna.trial import TrialState, create_trial
from rich.console import Console

from autoflow.search import watching
from autoflow.search.live_table import Moment
from autoflow.search.results import KEY, MEASUREMENTS, OWNER, REASON, SECONDS, TrialResult
from autoflow.search.watching import TrialLines, Watch, watched
from selfflow.runs.progress import console

SETTINGS = small_settings("moving", trials=8)
STATES = {
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
    "running": TrialState.RUNNING,
}


@pytest.fixture
def study() -> optuna.Study:
    return optuna.create_study(direction="minimize")


def add(study: optuna.Study, trial: TrialResult, *, owner: str = "me") -> None:
    attributes = {
        KEY: f"start-{trial.number}",
        SECONDS: trial.seconds,
        OWNER: owner,
    }
    if trial.state == "failed":
        attributes[REASON] = trial.reason
    study._storage.create_new_trial(
        study._study_id,
        create_trial(
            state=STATES[trial.state],
            value=trial.omega if trial.state == "complete" else None,
            user_attrs=attributes,
            system_attrs={MEASUREMENTS: [each.as_dict() for each in trial.course]},
        ),
    )


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(console, "print", lambda text, **_: lines.append(str(text)))
    return lines


def test_a_line_says_how_a_trial_ended_and_what_is_left(said: list[str]) -> None:
    trials = made_up_trials(8)
    lines = TrialLines(SETTINGS, Moment(()))
    for count in (1, 3, 6, 8):
        lines.say(Moment(trials[:count]))
    assert len(said) == 8
    assert [line.split()[1] for line in said] == [str(trial.number) for trial in trials]
    assert "Ω 3.05: photometric 3, smoothness 0.1, distillation 0.01, covered 80 %" in said[0]
    assert "EPE 1.5 px" in said[0]
    assert "NaN <in step> 3" in said[5]
    assert [line.endswith(" left") for line in said] == [True] * 6 + [False] * 2
    assert "best 2.05 (trial 7)" in said[7]


def test_trials_of_earlier_sessions_are_counted_not_told(said: list[str]) -> None:
    trials = made_up_trials(3)
    lines = TrialLines(SETTINGS, Moment(trials[:2]))
    assert said == ["2 of 8 trials are done."]
    lines.say(Moment(trials))
    assert len(said) == 2
    assert "trial   2 pruned" in said[1]


def test_lines_follow_a_study_whoever_works_on_it(
    study: optuna.Study, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "_PAUSE", 0.005)
    trials = made_up_trials(3)
    with watched(study, SETTINGS, lambda: {"me"}):
        add(study, trials[0], owner="someone else")
        end = time.monotonic() + 5
        while not said and time.monotonic() < end:
            time.sleep(0.005)
        assert "trial   0 complete" in said[0]
        add(study, trials[1])
    assert "trial   1 complete" in said[1]  # also when it ended at the last moment


def test_the_table_is_that_of_the_study(
    study: optuna.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    terminal = Console(file=StringIO(), force_terminal=True, width=100, height=30)
    for module in ("autoflow.search.watching", "selfflow.runs.progress"):
        monkeypatch.setattr(f"{module}.console", terminal)
    trials = made_up_trials(3)
    with watched(study, SETTINGS, lambda: {"me"}):
        for trial in trials:
            add(study, trial)
    shown = terminal.file.getvalue()
    assert "0/8 trials" in shown
    assert "3/8 trials" in shown
    assert "sta-2" not in shown.partition("3/8")[0]
    assert "sta-2 pruned" in shown


def test_workers_are_ours_and_those_of_running_trials(study: optuna.Study) -> None:
    trials = made_up_trials(2)
    add(study, trials[0], owner="gone")
    add(study, TrialResult(1, "running", {}, (), 0.0, ""), owner="elsewhere")
    add(study, TrialResult(2, "running", {}, (), 0.0, ""), owner="me")
    moment = Watch(study, SETTINGS, lambda: {"me", "idle"}, time.time() + 60).look()
    assert moment.workers == 3
    assert set(moment.elapsed) == {1, 2}
    assert all(0 <= seconds < 5 for seconds in moment.elapsed.values())
    assert moment.seconds_left is not None
    assert 55 < moment.seconds_left <= 60


def test_where_the_storage_does_not_answer_the_last_look_stays(
    study: optuna.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = Watch(study, SETTINGS, set)
    add(study, made_up_trials(1)[0])
    assert len(watch.look().trials) == 1

    def broken(**_: object) -> list[object]:
        raise optuna.exceptions.StorageInternalError

    monkeypatch.setattr(study, "get_trials", broken)
    assert len(watch.look().trials) == 1
