import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from books import new_study
from known import moving_target, small_settings
from optuna.exceptions import StorageInternalError
from optuna.trial import TrialState
from torch import Tensor

from autoflow.search import storage as storage_module
from autoflow.search import trial as trial_module
from autoflow.search.bench import Bench, open_bench
from autoflow.search.entry import Entry
from autoflow.search.ledger import Ledger
from autoflow.search.objective import Measurement
from autoflow.search.owners import new_owner
from autoflow.search.pruning import Pruning
from autoflow.search.results import TrialResult, read_trials
from autoflow.search.settings import SearchSettings
from autoflow.search.strategies import strategy_of
from autoflow.search.trial import Start, run_trial
from autoflow.search.trial_folder import TrialFolder
from autoflow.search.work import work
from autoflow.space import distributions
from selfflow.runs.config import replace_values
from selfflow.runs.errors import UserError
from selfflow.runs.store import read_model

STEPS = 6
Measure = Callable[..., Measurement]


class Place:
    """A run folder, its study and what its trials share."""

    def __init__(self, path: Path, **values: Any) -> None:
        self.path, self.study = path, new_study(path)
        settings = replace_values(small_settings("moving", trials=1), {**LADDER, **values})
        self.bench = open_bench(settings, path, torch.device("cpu"))

    def take(self, owner: str = "me") -> Entry:
        settings = self.bench.settings
        forms = distributions(self.bench.space)
        ledger = Ledger(self.study, self.path, owner, forms, settings.trials)
        entry = ledger.take(strategy_of(settings, self.bench.space))
        assert entry is not None
        return entry

    def start(self, entry: Entry, study: str = "this") -> Start:
        return Start(TrialFolder.of(self.path, entry.trial.key), None, {"study": study})

    def run(self, entry: Entry, deadline: float | None = None) -> None:
        run_trial(entry, self.bench, self.start(entry), deadline)

    def trials(self) -> list[TrialResult]:
        return read_trials(self.study)

    def network(self, key: str = "start-0") -> dict[str, Tensor]:
        return read_model(TrialFolder.of(self.path, key).network)[0]


LADDER = {
    "trial.start": "scratch",
    "trial.steps": STEPS,
    "trial.rungs": (1 / 3, 2 / 3, 1.0),
    "trial.rung_pairs": (0.5, 0.5, 1.0),
    "trial.rung_sides": (0.5, 1.0, 1.0),
    "pairs.count": 4,
    "pairs.side": 40,
}


@pytest.fixture(autouse=True)
def _target(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autoflow.search.bench.open_target", lambda *_: moving_target())


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A trial that ran in one go."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("autoflow.search.bench.open_target", lambda *_: moving_target())
        place = Place(tmp_path_factory.mktemp("whole"))
    place.run(place.take())
    return place


def assert_same(one: Place, other: Place) -> None:
    (first,), (second,) = one.trials(), other.trials()
    assert first.state == second.state == "complete"
    assert first.course == second.course
    for name, value in one.network().items():
        assert torch.equal(value, other.network()[name])


def test_each_rung_measures_its_share_of_the_pairs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, seen = Place(tmp_path), []
    measure: Measure = trial_module.measure_target

    def looking(network: Any, pairs: Any, *arguments: Any) -> Measurement:
        seen.append((len(pairs), pairs.side))
        return measure(network, pairs, *arguments)

    monkeypatch.setattr(trial_module, "measure_target", looking)
    place.run(place.take())
    assert seen == [(2, 32), (2, 40), (4, 40)]  # 32 is the shortest side there is
    (trial,) = place.trials()
    assert [m.step for m in trial.course] == [2, 4, 6]
    stored = place.study.get_trials()[0]
    assert stored.value == trial.omega == stored.intermediate_values[6]


def test_a_trial_that_is_stopped_after_every_step_ends_as_one_that_is_not(
    tmp_path: Path, whole: Place
) -> None:
    place = Place(tmp_path)
    for _ in range(STEPS - 1):
        place.run(place.take(), deadline=0.0)
        assert place.trials() == []
    place.run(place.take(), deadline=0.0)
    assert_same(whole, place)
    assert place.trials()[0].retries == 0


@pytest.mark.parametrize(("step", "again"), [(1, 1), (5, 5), (5, 1)])
def test_a_trial_whose_process_is_killed_goes_on_from_its_last_rung(
    tmp_path: Path, whole: Place, step: int, again: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or from its beginning, where its folder is on another machine; it is not measured again."""

    class Killed(BaseException):
        pass

    place, dead, seen = Place(tmp_path), new_owner(), []
    entry, train = place.take(dead), trial_module.train_on_scenes

    def dying(*arguments: Any, watch: Callable[[int], Any], **named: Any) -> Any:
        def then(done: int) -> Any:
            seen.append(done)
            if done == step and entry.trial.owner == dead:
                raise Killed
            return watch(done)

        return train(*arguments, watch=then, **named)

    monkeypatch.setattr(trial_module, "train_on_scenes", dying)
    with monkeypatch.context() as silenced:
        silenced.setattr(Entry, "stop", lambda *_: None)
        with pytest.raises(Killed):
            place.run(entry)
    (tmp_path / "workers" / f"{dead}.lock").touch()
    if again < step:
        shutil.rmtree(tmp_path / "trials")
    entry = place.take()
    measurements = len(entry.trial.course)
    place.run(entry)
    assert seen == [*range(1, step + 1), *range(again, STEPS + 1)]
    assert measurements == (step - 1) // 2
    assert_same(whole, place)
    assert place.trials()[0].retries == 1


def test_a_checkpoint_ahead_of_the_study_is_measured(tmp_path: Path, whole: Place) -> None:
    """As after the study was brought back from an older copy."""
    place = Place(tmp_path)
    place.run(place.take(), deadline=None)
    place.study = new_study(tmp_path / "older")
    place.run(place.take())
    (trial,) = place.trials()
    assert trial.course == whole.trials()[0].course[-1:]


def test_what_another_study_left_in_the_folder_is_not_gone_on_with(
    tmp_path: Path, whole: Place
) -> None:
    place = Place(tmp_path)
    entry = place.take()
    run_trial(entry, place.bench, place.start(entry, "another"), deadline=0.0)
    folder = TrialFolder.of(tmp_path, "start-0")
    torch.save({"result": {"steps": STEPS}}, folder.path / "checkpoint.pt")
    place.run(place.take())
    assert_same(whole, place)


def test_a_hopeless_trial_is_given_up_but_never_the_default_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(tmp_path, trials=2, **{"trial.pruner": "halving"})
    asked: list[int] = []

    def hopeless(self: Pruning, study: object, trial_id: int) -> bool:
        asked.append(trial_id)
        return True

    monkeypatch.setattr(Pruning, "is_hopeless", hopeless)
    work(place.study, place.bench, tmp_path, owner="me")
    default, other = place.trials()
    assert (default.state, other.state) == ("complete", "pruned")
    assert other.reason == "hopeless after 2 of 6 steps"
    assert asked == [1, 1, 2]  # the default's Ω is one that others are compared with


def test_a_trial_that_was_taken_for_dead_stops_and_is_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(tmp_path)
    entry, measure = place.take(), trial_module.measure_target

    def late(*arguments: Any) -> Measurement:
        place.study.tell(entry.trial.number, state=TrialState.FAIL)
        return measure(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(trial_module, "measure_target", late)
        place.run(entry)
    assert place.trials() == []
    again = place.take()
    assert (again.trial.course, again.trial.retries) == ((), 1)


def test_a_full_disk_is_not_the_sets_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(tmp_path)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full)
        with pytest.raises(UserError, match="No space left"):
            place.run(place.take())
    place.run(place.take())
    assert [(t.state, t.retries) for t in place.trials()] == [("complete", 0)]


def test_a_set_that_renders_nothing_fails_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(tmp_path)

    def refuse(*_: object, **__: object) -> None:
        raise UserError("textures: none has a weight")

    monkeypatch.setattr(trial_module, "train_on_scenes", refuse)
    place.run(place.take())
    (trial,) = place.trials()
    assert (trial.state, trial.reason) == ("failed", "textures: none has a weight")


def test_a_worker_goes_on_after_its_storage_was_out_of_reach(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, calls = Place(tmp_path), []
    record = Entry.record

    def sometimes(self: Entry, course: Any) -> None:
        calls.append(self.trial.number)
        if len(calls) == 2:
            raise StorageInternalError("gone")
        record(self, course)

    monkeypatch.setattr(Entry, "record", sometimes)
    monkeypatch.setattr(storage_module, "PAUSE", 0.001)
    work(place.study, place.bench, tmp_path, owner="me")
    (trial,) = place.trials()
    assert (trial.state, trial.retries) == ("complete", 0)
    assert [m.step for m in trial.course] == [2, 4, 6]
    assert calls == [0, 0, 1, 1]


def population(path: Path, **values: Any) -> Place:
    return Place(path, strategy="pbt", **{"pbt.members": 2, "trials": 4, **values})


def run_population(place: Place) -> None:
    work(place.study, place.bench, place.path, owner="me")


def test_a_population_trains_on_from_its_parents_networks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, begun = population(tmp_path), {}
    train = trial_module.train_on_scenes

    def noting(network: Any, *arguments: Any, seed: int, title: str, **named: Any) -> Any:
        weights = {name: value.clone() for name, value in network.state_dict().items()}
        begun[int(title.split()[-1])] = (seed, weights)
        return train(network, *arguments, seed=seed, title=title, **named)

    monkeypatch.setattr(trial_module, "train_on_scenes", noting)
    run_population(place)
    trials = place.trials()
    assert [trial.generation for trial in trials] == [0, 0, 1, 1]
    assert [[m.step for m in trial.course] for trial in trials] == [[6], [6], [12], [12]]
    fresh = place.bench.network().state_dict()
    for trial in trials:
        seed, weights = begun[trial.number]
        assert seed == begun[0][0] + trial.generation  # further scenes, not the same again
        start = fresh
        if trial.parent is not None:
            start = place.network(trials[trial.parent].key)
        assert all(torch.equal(weights[name], value) for name, value in start.items())
    assert {trial.parent for trial in trials if trial.generation} <= {0, 1}
    assert not list(tmp_path.glob("trials/*/checkpoint.pt"))


def test_a_population_whose_folder_is_not_shared_says_so(tmp_path: Path) -> None:
    place = population(tmp_path, trials=4)
    place.bench = replaced(place.bench, trials=4)
    for _ in range(2):
        place.run(place.take())
    TrialFolder.of(tmp_path, "member-0-generation-0").clear(keep_network=False)
    TrialFolder.of(tmp_path, "member-1-generation-0").clear(keep_network=False)
    with pytest.raises(UserError, match="workers of one population share their --out"):
        run_population(place)
    assert all(trial.state == "complete" for trial in place.trials())


def replaced(bench: Bench, **values: Any) -> Bench:
    settings: SearchSettings = replace_values(bench.settings, values)
    return Bench(**{**vars(bench), "settings": settings})


def test_a_trial_says_what_its_network_is(whole: Place) -> None:
    _, description = read_model(TrialFolder.of(whole.path, "start-0").network)
    (trial,) = whole.trials()
    assert description["key"] == "start-0"
    assert description["omega"] == trial.omega
    note = json.loads((whole.path / "trials" / "start-0" / "trial.json").read_text())
    assert note == {"study": "this"}
