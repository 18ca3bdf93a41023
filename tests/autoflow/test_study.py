from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from autoflow.results import REASON
from autoflow.study import MOST_RETRIES, ask, finished, open_study, recover
from selfflow.runs.errors import UserError

POINTS = [{"x": 0.5}, {"x": 0.25}]


def opened(path: Path, **made_for: object) -> optuna.Study:
    return open_study(
        f"sqlite:///{path / 'study.db'}",
        "s-af",
        made_for={"target": "sample", **made_for},
        first_points=POINTS,
        pruner=optuna.pruners.NopPruner(),
    )


def run(study: optuna.Study, owner: str = "me") -> float:
    trial = ask(study, seed=0, startup=2, owner=owner)
    x = trial.suggest_float("x", 0, 1)
    trial.set_user_attr(REASON, "")
    study.tell(trial, (x - 0.3) ** 2)
    return x


def test_the_default_set_comes_first_then_the_points_around_it(tmp_path: Path) -> None:
    study = opened(tmp_path)
    assert [run(study) for _ in range(2)] == [0.5, 0.25]


def test_a_study_that_is_opened_again_goes_on_as_if_it_had_not_been_closed(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    whole = opened(tmp_path / "a")
    expected = [run(whole) for _ in range(6)]
    found = [run(opened(tmp_path / "b")) for _ in range(6)]
    assert found == expected
    assert len(set(found)) == 6


def test_trials_of_a_process_that_is_gone_are_run_again(tmp_path: Path) -> None:
    study = opened(tmp_path)
    dead = ask(study, seed=0, startup=2, owner="me")
    assert dead.suggest_float("x", 0, 1) == 0.5
    theirs = ask(study, seed=0, startup=2, owner="other")
    theirs.suggest_float("x", 0, 1)
    assert recover(study, owner="me", alone=False, default=POINTS[0]) == 1
    assert run(study) == 0.5
    assert len(finished(study)) == 1
    assert study.trials[theirs.number].state == TrialState.RUNNING


def test_a_trial_that_kills_its_process_is_given_up_in_the_end(tmp_path: Path) -> None:
    study = opened(tmp_path)
    assert run(study) == 0.5
    for _ in range(MOST_RETRIES + 1):
        ask(study, seed=0, startup=2, owner="me").suggest_float("x", 0, 1)
        recover(study, owner="me", alone=True, default=POINTS[0])
    first, given_up = finished(study)
    assert first.state == "complete"
    assert given_up.state == "failed"
    assert given_up.parameters == POINTS[1]
    assert "without a word" in given_up.reason


@pytest.mark.parametrize(
    ("made_for", "named"),
    [({"target": "davis"}, "target sample, not davis"), ({"space": {"a": [0, 1]}}, "space")],
)
def test_a_study_made_for_something_else_is_refused(
    tmp_path: Path, made_for: dict, named: str
) -> None:
    opened(tmp_path)
    with pytest.raises(UserError, match=named):
        opened(tmp_path, **made_for)


def test_a_storage_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--storage"):
        opened(tmp_path / "missing")
