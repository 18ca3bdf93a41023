import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from known import Moving, moving_target, small_settings

from autoflow.search import trial as trial_module
from autoflow.search.bench import Bench, make_base, open_bench
from autoflow.search.conclusion import _zero_error
from autoflow.search.objective import measure_target
from autoflow.search.pruning import Pruning
from autoflow.search.report_run import rebuild_report, stored_settings
from autoflow.search.results import TrialResult, finished
from autoflow.search.run import run_search
from autoflow.search.settings import SearchSettings
from autoflow.search.work import open_trials, work
from autoflow.sets import read_hyperparameters, read_sets
from autoflow.train import new_network
from selfflow.io import write_image
from selfflow.models import load_network, save
from selfflow.runs.config import replace_values
from selfflow.runs.errors import UserError

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("target") / "moving"
    folder.mkdir()
    for index in range(4):
        write_image(folder / f"{index:03d}.png", Moving().frame(index))
    return folder


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("SELFFLOW_HOME", str(tmp_path / "home"))
    return


def prepared(path: Path, settings: SearchSettings) -> Bench:
    path.mkdir(exist_ok=True)
    bench = open_bench(settings, path, CPU)
    make_base(settings, bench, path)
    return open_bench(settings, path, CPU)


def run_all(settings: SearchSettings, bench: Bench, path: Path) -> list[TrialResult]:
    study = open_trials(settings, bench, path)
    work(study, bench, path, owner="me")
    return finished(study)


def courses(trials: list[TrialResult]) -> list[list[float]]:
    return [[measured.omega for measured in trial.course] for trial in trials]


def test_a_search_ends_with_files_a_report_and_a_network(frames: Path, tmp_path: Path) -> None:
    settings = small_settings(str(frames))
    found = run_search(settings, tmp_path / "run", CPU)
    assert found.results["trials"] == found.results["complete"] == 3
    sets = read_sets(tmp_path / "run")
    assert len(sets) == 3
    assert read_hyperparameters(tmp_path / "run" / "best.toml") == sets[0]
    lines = (tmp_path / "run" / "trials.csv").read_text().splitlines()
    assert len(lines) == 4
    assert "All trials" in (tmp_path / "run" / "report.html").read_text()
    pairs = json.loads((tmp_path / "run" / "pairs.json").read_text())
    assert len(pairs["pairs"]) == 2
    _, metadata = load_network("s-af")
    assert metadata["target"] == str(frames)
    assert len(metadata["hyperparameters"]) == 3
    bench = open_bench(settings, tmp_path / "run", CPU)
    began = measure_target(bench.network(), bench.pairs, settings.metric)
    assert found.results["base_omega"] == pytest.approx(began.omega)
    # The same command again has nothing left to do, and says the same.
    again = run_search(settings, tmp_path / "run", CPU)
    assert again.results["best"] == found.results["best"]
    stored = stored_settings(tmp_path / "run")
    assert stored == settings
    rebuilt = rebuild_report(stored, tmp_path / "run", CPU)
    assert rebuilt.results["best"] == found.results["best"]


def test_the_default_set_is_trial_zero(frames: Path, tmp_path: Path) -> None:
    settings = small_settings(str(frames), trials=1)
    bench = prepared(tmp_path / "run", settings)
    (result,) = run_all(settings, bench, tmp_path / "run")
    assert result.is_default
    assert replace_values(bench.start, result.parameters) == bench.start
    assert [measured.step for measured in result.course] == [1, 2]


@pytest.mark.slow
def test_a_search_in_two_parts_finds_what_one_finds(frames: Path, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    settings = small_settings(str(frames))
    bench = prepared(whole, settings)
    expected = run_all(settings, bench, whole)
    for count in (1, 3):
        shorter = settings.model_copy(update={"trials": count})
        bench = prepared(parts, shorter)
        found = run_all(shorter, bench, parts)
    assert courses(found) == courses(expected)
    assert [t.parameters for t in found] == [t.parameters for t in expected]


def test_a_trial_that_diverges_is_recorded_and_the_search_goes_on(
    frames: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = small_settings(str(frames))
    bench = prepared(tmp_path / "run", settings)
    measure, calls = trial_module.measure_target, iter([False, False, True, False, False])

    def sometimes_nan(network, *arguments):
        if next(calls):
            with torch.no_grad():
                next(network.parameters()).fill_(float("nan"))
        return measure(network, *arguments)

    monkeypatch.setattr(trial_module, "measure_target", sometimes_nan)
    trials = run_all(settings, bench, tmp_path / "run")
    assert [trial.state for trial in trials] == ["complete", "failed", "complete"]
    assert "Ω is not finite after 1 steps" in trials[1].reason


def test_hopeless_trials_are_pruned_but_the_default_set_never(
    frames: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = small_settings(str(frames), trials=2)
    bench = prepared(tmp_path / "run", settings)
    monkeypatch.setattr(Pruning, "is_hopeless", lambda *_: True)
    trials = run_all(settings, bench, tmp_path / "run")
    assert [trial.state for trial in trials] == ["complete", "pruned"]
    assert [len(trial.course) for trial in trials] == [2, 1]
    assert "hopeless after 1 of 2 steps" in trials[1].reason


def test_ground_truth_never_influences_a_self_supervised_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for labelled in (True, False):
        target = moving_target(labelled)
        monkeypatch.setattr("autoflow.search.bench.open_target", lambda *_, t=target: t)
        settings = small_settings("moving", trials=2)
        path = tmp_path / str(labelled)
        bench = prepared(path, settings)
        found.append(run_all(settings, bench, path))
    assert courses(found[0]) == courses(found[1])
    assert found[0][0].last is not None
    assert found[0][0].last.aepe is not None
    assert found[1][0].last.aepe is None


def test_other_settings_in_the_same_folder_are_refused(frames: Path, tmp_path: Path) -> None:
    settings = small_settings(str(frames), trials=1)
    bench = prepared(tmp_path / "run", settings)
    open_trials(settings, bench, tmp_path / "run")
    other = settings.model_copy(update={"only": ("foreground",)})
    with pytest.raises(UserError, match="made for another"):
        open_trials(other, open_bench(other, tmp_path / "run", CPU), tmp_path / "run")


@pytest.mark.slow
def test_workers_run_all_trials(frames: Path, tmp_path: Path) -> None:
    settings = small_settings(str(frames), trials=5).model_copy(update={"workers": 2})
    run_search(settings, tmp_path / "run", CPU, train=False)
    bench = open_bench(settings, tmp_path / "run", CPU)
    trials = finished(open_trials(settings, bench, tmp_path / "run"))
    assert len(trials) == 5
    assert all(trial.state == "complete" for trial in trials)
    assert all(np.isfinite(trial.omega) for trial in trials)


def test_a_trained_network_is_taken_as_the_base(frames: Path, tmp_path: Path) -> None:
    network = new_network("raft-small", 7, CPU)
    save("known", network, {})
    base = {"base.init": "known", "base.steps": 0}
    bench = prepared(tmp_path / "run", replace_values(small_settings(str(frames)), base))
    assert bench.base is not None
    for name, value in network.state_dict().items():
        assert torch.equal(bench.base[name], value)
    assert not (tmp_path / "run" / "base").exists()


def test_an_untrained_base_is_refused(frames: Path) -> None:
    with pytest.raises(UserError, match=r"base\.steps is 0"):
        replace_values(small_settings(str(frames)), {"base.steps": 0})


def test_a_report_needs_a_study_and_makes_none(frames: Path, tmp_path: Path) -> None:
    settings = small_settings(str(frames), trials=1)
    bench = prepared(tmp_path, settings)
    with pytest.raises(UserError, match="study s-af cannot be opened"):
        rebuild_report(settings, tmp_path, CPU)
    run_all(settings, bench, tmp_path)
    # What was added to the settings since does not matter to those who only look.
    later = settings.model_copy(update={"only": ("foreground",)})
    assert rebuild_report(later, tmp_path, CPU).results["complete"] == 1


def test_zero_flow_is_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = small_settings("moving", trials=1)
    monkeypatch.setattr("autoflow.search.bench.open_target", lambda *_: moving_target())
    bench = prepared(tmp_path, settings)
    first = _zero_error(tmp_path, bench)
    # 2 and 1 px in 64x48 pixels, which are made 43x32.
    assert first == pytest.approx(np.hypot(2 * 43 / 64, 2 / 3), rel=1e-4)
    monkeypatch.delattr("autoflow.search.conclusion.measure_target")
    assert _zero_error(tmp_path, bench) == first
