"""A sheet of each trial's scenes, where optuna-dashboard finds it."""

import time
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
import torch
from books import complete, measured, new_study
from known import moving_target, small_settings
from optuna.artifacts import get_all_artifact_meta
from optuna.trial import TrialState

from autoflow.search import artifacts
from autoflow.search.artifacts import FOLDER, keep_pictures
from autoflow.search.bench import Bench, open_bench
from autoflow.search.entry import Entry, Outcome
from autoflow.search.ledger import Ledger
from autoflow.search.results import read_trials
from autoflow.search.settings import DEVICE_DEFAULTS, SearchSettings
from autoflow.search.strategies import strategy_of
from autoflow.space import distributions
from autoflow.train import measure_cost
from selfflow.io import read_image
from selfflow.runs.config import load, replace_values


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr("autoflow.search.bench.open_target", lambda *_: moving_target())
    settings = replace_values(small_settings("moving"), {"trial.pictures": 2})
    return open_bench(settings, tmp_path, torch.device("cpu"))


def taken(study: optuna.Study, bench: Bench, path: Path) -> Entry:
    ledger = Ledger(study, path, "me", distributions(bench.space), 9)
    entry = ledger.take(strategy_of(bench.settings, bench.space))
    assert entry is not None
    return entry


def sheets(path: Path) -> list[Path]:
    return sorted((path / FOLDER).iterdir()) if (path / FOLDER).exists() else []


def test_a_trial_has_a_sheet_that_its_study_names(tmp_path: Path, bench: Bench) -> None:
    study = new_study(tmp_path)
    entry = taken(study, bench, tmp_path)
    keep_pictures(entry, bench, tmp_path)
    (meta,) = get_all_artifact_meta(entry.frozen(), storage=study._storage)
    assert (meta.filename, meta.mimetype) == ("scenes.jpg", "image/jpeg")
    (file,) = sheets(tmp_path)
    assert file.name == meta.artifact_id
    assert file.stat().st_size < 50_000
    height, width, _ = read_image(file.rename(tmp_path / "scenes.jpg")).shape
    assert height > 2 * 32
    assert width > 4 * 32


def test_a_trial_that_goes_on_keeps_its_sheet(tmp_path: Path, bench: Bench) -> None:
    study = new_study(tmp_path)
    entry = taken(study, bench, tmp_path)
    keep_pictures(entry, bench, tmp_path)
    entry.stop()
    again = taken(study, bench, tmp_path)
    assert again.trial.key == entry.trial.key
    keep_pictures(again, bench, tmp_path)
    assert len(sheets(tmp_path)) == 1
    assert len(get_all_artifact_meta(again.frozen(), storage=study._storage)) == 1


def test_the_last_terms_are_attributes_that_can_be_plotted(tmp_path: Path, bench: Bench) -> None:
    study = new_study(tmp_path)
    entry = taken(study, bench, tmp_path)
    course = [replace(measured(step, 2.0), photometric=step / 2, aepe=None) for step in (1, 2)]
    entry.record(course)
    entry.end(Outcome(TrialState.PRUNED, reason="hopeless"), 1.0)
    attributes = entry.frozen().user_attrs
    assert attributes["photometric"] == 1.0
    assert attributes["smoothness"] == 0.0
    assert "aepe" not in attributes
    assert attributes["rung 2"].startswith("after 2 steps, Ω 2: photometric 1, smoothness 0")
    assert max(len(str(value)) for value in attributes.values()) < 120
    assert read_trials(study)[0].course == tuple(course)


def test_other_sets_have_other_sheets(tmp_path: Path, bench: Bench) -> None:
    study = new_study(tmp_path)
    for _ in range(2):
        entry = taken(study, bench, tmp_path)
        keep_pictures(entry, bench, tmp_path)
        complete(entry)
    one, two = sheets(tmp_path)
    assert one.read_bytes() != two.read_bytes()


def test_without_pictures_there_are_none(tmp_path: Path, bench: Bench) -> None:
    none = replace(bench, settings=replace_values(bench.settings, {"trial.pictures": 0}))
    keep_pictures(taken(new_study(tmp_path), bench, tmp_path), none, tmp_path)
    assert sheets(tmp_path) == []


def test_a_set_that_cannot_be_rendered_stops_nobody(
    tmp_path: Path, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(artifacts, "stream", broken)
    entry = taken(new_study(tmp_path), bench, tmp_path)
    keep_pictures(entry, bench, tmp_path)
    assert sheets(tmp_path) == []
    assert entry.frozen().state == TrialState.RUNNING


@pytest.mark.slow
def test_a_sheet_takes_less_than_a_training_step(tmp_path: Path, bench: Bench) -> None:
    """Trials have a hundred steps and more, so that it is less than a hundredth of one."""
    settings = load(SearchSettings, defaults=DEVICE_DEFAULTS["cpu"])
    cpu = torch.device("cpu")
    ready = Bench(settings, bench.pairs, bench.start, bench.space, None, None, cpu)
    study, seconds = new_study(tmp_path), []
    for _ in range(4):
        entry = taken(study, ready, tmp_path)
        begun = time.process_time()
        keep_pictures(entry, ready, tmp_path)
        seconds.append(time.process_time() - begun)
        complete(entry)
    begun = time.process_time()
    measure_cost([bench.start], settings.training, cpu, steps=4)
    step = (time.process_time() - begun) / 5
    assert min(seconds) < step
    assert settings.trial.steps >= 100
