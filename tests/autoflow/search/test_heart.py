from pathlib import Path

import pytest
from books import change, ledger_of, new_study, rows, taken
from optuna.exceptions import StorageInternalError
from optuna.trial import TrialState

from autoflow.search.heart import Heart
from autoflow.search.results import read_trials


def test_a_heart_beats_until_its_trial_is_taken_for_dead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = new_study(tmp_path)
    monkeypatch.setattr(study._storage._backend, "heartbeat_interval", 0.01)
    entry = taken(ledger_of(study, tmp_path))
    record, beats = study._storage.record_heartbeat, []

    def sometimes(trial_id: int) -> None:
        beats.append(trial_id)
        if len(beats) == 1:
            raise StorageInternalError
        record(trial_id)

    monkeypatch.setattr(study._storage, "record_heartbeat", sometimes)
    with Heart(study, entry.trial_id) as heart:
        while len(beats) < 3:
            assert not heart.stopped.is_set()
            heart.stopped.wait(0.01)
        assert rows(tmp_path, "select trial_id from trial_heartbeats") == [(entry.trial_id,)]
        new_study(tmp_path).tell(entry.trial.number, state=TrialState.FAIL)
        assert heart.stopped.wait(60)
    beaten = len(beats)
    change(tmp_path, "delete from trial_heartbeats")
    assert len(beats) == beaten  # it has stopped with the block
    assert set(beats) == {entry.trial_id}


def test_a_heart_tells_how_far_its_trial_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = new_study(tmp_path)
    monkeypatch.setattr(study._storage._backend, "heartbeat_interval", 0.01)
    ledger = ledger_of(study, tmp_path)
    entry = taken(ledger)

    def known() -> int:
        return read_trials(new_study(tmp_path))[0].step

    with Heart(study, entry.trial_id) as heart:
        for step in (7, 9):
            heart.step = step
            while known() != step:
                assert not heart.stopped.wait(0.01)
    entry.stop()
    assert taken(ledger).trial.step == 0  # it goes on from a checkpoint, wherever that is
