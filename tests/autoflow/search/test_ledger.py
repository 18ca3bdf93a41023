from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import optuna
import pytest
from books import (
    Counting,
    change,
    complete,
    ledger_of,
    measured,
    new_study,
    rows,
    run_side_by_side,
    taken,
)
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState
from sqlalchemy import event

from autoflow.search.entry import Outcome
from autoflow.search.ledger import MOST_RETRIES
from autoflow.search.owners import new_owner
from autoflow.search.results import WITHDRAWN, TrialResult, finished, read_trials
from autoflow.search.storage import GRACE
from autoflow.search.strategies import Job

HOUR_AGO = "datetime('now', '-1 hour')"


def kill(path: Path, owner: str) -> None:
    """Leave what a killed worker of this machine leaves: a lock that nobody holds."""
    (path / "workers").mkdir(exist_ok=True)
    (path / "workers" / f"{owner}.lock").touch()


def test_a_trial_is_taken_in_one_commit_with_all_that_is_known_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = new_study(tmp_path)
    storage, commits = study._storage, []
    event.listen(storage._backend.engine, "commit", commits.append)
    create = storage.create_new_trial

    def counting(*arguments: object) -> int:
        commits.clear()
        number: int = create(*arguments)
        assert len(commits) == 1
        return number

    monkeypatch.setattr(storage, "create_new_trial", counting)
    entry = taken(ledger_of(study, tmp_path, count=60), Counting(60))
    (trial,) = new_study(tmp_path).get_trials()
    assert trial.state == TrialState.RUNNING
    assert trial.params == Counting(60).point(0)
    assert (entry.trial.key, entry.trial.owner, entry.trial.retries) == ("count-0", "me", 0)


def test_a_job_that_somebody_else_takes_meanwhile_is_left_to_them(tmp_path: Path) -> None:
    mine, theirs = new_study(tmp_path), new_study(tmp_path)
    other = ledger_of(theirs, tmp_path / "there", "other")

    class Overtaken(Counting):
        def next(self, study: optuna.Study, trials: Sequence[TrialResult]) -> Job:
            job = super().next(study, trials)
            if not other.study.get_trials(deepcopy=False):
                taken(other)
            return job

    entry = taken(ledger_of(mine, tmp_path / "here", "me"), Overtaken())
    assert entry.trial.key == "count-1"
    assert [(t.key, t.owner) for t in read_trials(mine)] == [
        ("count-0", "other"),
        ("count-1", "me"),
    ]
    withdrawn = mine.get_trials()[1]
    assert (withdrawn.state, withdrawn.user_attrs["key"]) == (TrialState.FAIL, WITHDRAWN)


def test_what_was_begun_twice_counts_once(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    first, second = (taken(ledger_of(study, tmp_path, owner)) for owner in ("me", "other"))
    change(tmp_path, "update trial_user_attributes set value_json='\"count-0\"' where key='key'")
    study = new_study(tmp_path)
    assert [t.number for t in read_trials(study)] == [first.trial.number]
    complete(second, 2.0)  # the one that has ended goes before the one that has not
    assert [(t.number, t.state) for t in read_trials(study)] == [(1, "complete")]
    complete(first, 1.0)
    assert [(t.number, t.omega) for t in finished(study)] == [(0, 1.0)]


def test_a_withdrawn_trial_never_counts_nor_is_tried_again(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    entry = taken(ledger_of(study, tmp_path, "other"))
    study._storage.set_trial_user_attr(entry.trial_id, "key", WITHDRAWN)
    assert read_trials(study) == []  # nor between the two commits of withdrawing
    study.tell(entry.trial.number, state=TrialState.FAIL)
    again = taken(ledger_of(study, tmp_path))
    assert (again.trial.key, again.trial.retries) == ("count-0", 0)


def test_a_killed_worker_of_this_machine_is_found_at_once(tmp_path: Path) -> None:
    study, dead = new_study(tmp_path), new_owner()
    lost = taken(ledger_of(study, tmp_path, dead))
    lost.record([measured(5, 0.5)])
    theirs = taken(ledger_of(study, tmp_path, "host.1.ab"))
    kill(tmp_path, dead)
    again = taken(ledger_of(study, tmp_path))
    assert (again.trial.key, again.trial.retries, again.trial.owner) == ("count-0", 1, "me")
    assert again.trial.parameters == Counting().point(0)
    assert again.trial.course == (measured(5, 0.5),)
    assert study.get_trials()[again.trial.number].intermediate_values == {5: 0.5}
    assert [t.key for t in read_trials(study)] == ["count-1", "count-0"]
    assert study.get_trials()[theirs.trial.number].state == TrialState.RUNNING


def test_a_trial_without_a_heartbeat_for_long_is_tried_again(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    lost = taken(ledger_of(study, tmp_path, "elsewhere.1.ab"))
    study._storage.record_heartbeat(lost.trial_id)
    ledger = ledger_of(study, tmp_path)
    complete(taken(ledger))
    assert [t.key for t in finished(study)] == ["count-1"]
    change(tmp_path, f"update trial_heartbeats set heartbeat = {HOUR_AGO}")
    assert taken(ledger).trial.key == "count-0"


def test_a_trial_whose_process_died_before_its_first_heartbeat_is_tried_again(
    tmp_path: Path,
) -> None:
    study = new_study(tmp_path)
    taken(ledger_of(study, tmp_path, "elsewhere.1.ab"))
    ledger = ledger_of(study, tmp_path)
    complete(taken(ledger))
    assert rows(tmp_path, "select * from trial_heartbeats") == []  # still too young
    start = f"strftime('%Y-%m-%d %H:%M:%f', 'now', 'localtime', '-{GRACE + 60} seconds')"
    change(tmp_path, f"update trials set datetime_start = {start} where number = 0")
    complete(taken(ledger))
    assert [t.key for t in finished(study)] == ["count-1", "count-2"]
    aged = change(tmp_path, f"update trial_heartbeats set heartbeat = {HOUR_AGO}")
    assert aged == 1  # lent to it
    assert taken(ledger).trial.key == "count-0"


def test_a_result_that_comes_too_late_is_refused(tmp_path: Path) -> None:
    study, dead = new_study(tmp_path), new_owner()
    late = taken(ledger_of(study, tmp_path, dead))
    kill(tmp_path, dead)
    again = taken(ledger_of(study, tmp_path))
    for write in (
        lambda: late.record([measured(5, 0.1)]),
        lambda: late.end(Outcome(TrialState.COMPLETE, 0.1), 1.0),
        late.stop,
    ):
        with pytest.raises(UpdateFinishedTrialError):
            write()
    complete(again, 0.7)
    assert [(t.number, t.omega) for t in finished(study)] == [(again.trial.number, 0.7)]


def test_a_trial_that_kills_its_process_is_given_up_in_the_end(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    complete(taken(ledger_of(study, tmp_path)))
    for attempt in range(MOST_RETRIES + 1):
        dead = new_owner()
        entry = taken(ledger_of(study, tmp_path, dead))
        assert (entry.trial.key, entry.trial.retries) == ("count-1", attempt)
        kill(tmp_path, dead)
    assert taken(ledger_of(study, tmp_path)).trial.key == "count-2"
    given_up = finished(study)[1]
    assert (given_up.key, given_up.state) == ("count-1", "failed")
    assert "ended 3 times without a word" in given_up.reason
    assert given_up.parameters == Counting().point(1)


def test_stopping_on_purpose_is_no_failed_attempt(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    for _ in range(2 * MOST_RETRIES):
        entry = taken(ledger_of(study, tmp_path))
        assert (entry.trial.key, entry.trial.retries) == ("count-0", 0)
        entry.stop(1.0)
    assert read_trials(study) == []
    entry = taken(ledger_of(study, tmp_path))
    complete(entry)
    assert finished(study)[0].seconds == 2 * MOST_RETRIES + 2.0  # all sessions together


def test_who_looks_for_work_has_none_left(tmp_path: Path) -> None:
    """As after the storage was out of reach when a trial was to be stopped."""
    study = new_study(tmp_path)
    ledger = ledger_of(study, tmp_path)
    left, again = taken(ledger), taken(ledger)
    assert left.trial.number != again.trial.number
    assert (again.trial.key, again.trial.retries) == (left.trial.key, 0)


def test_no_more_trials_are_begun_than_are_wanted(tmp_path: Path) -> None:
    study, dead = new_study(tmp_path), new_owner()
    first = taken(ledger_of(study, tmp_path, "other", limit=2))
    taken(ledger_of(study, tmp_path, dead, limit=2))
    ledger = ledger_of(study, tmp_path, limit=2)
    assert ledger.take(Counting()) is None
    complete(first)
    assert not ledger.is_complete()
    kill(tmp_path, dead)
    complete(taken(ledger))
    assert ledger.is_complete()
    assert ledger.take(Counting()) is None
    assert sorted(t.key for t in finished(study)) == ["count-0", "count-1"]


def test_after_the_deadline_only_what_was_begun_is_gone_on_with(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    taken(ledger_of(study, tmp_path)).stop()
    assert ledger_of(study, tmp_path).take(None) is not None
    assert ledger_of(study, tmp_path, "other").take(None) is None


def test_workers_that_take_trials_at_the_same_time_share_them(tmp_path: Path) -> None:
    wanted = 9
    study = new_study(tmp_path)
    run_side_by_side([new_study(tmp_path) for _ in range(3)], tmp_path, wanted)
    stored = study.get_trials()
    assert all(trial.state.is_finished() for trial in stored)
    ended = Counter(t.user_attrs["key"] for t in stored if t.state == TrialState.COMPLETE)
    assert ended == {f"count-{number}": 1 for number in range(wanted)}
    assert [t.number for t in stored] == list(range(len(stored)))
