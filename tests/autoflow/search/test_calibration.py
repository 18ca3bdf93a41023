"""Balanced weights: what they are, and that all who work on a study have the same."""

import json
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import stdev
from typing import Any

import optuna
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from known import Moving, small_settings

from autoflow.search import calibration
from autoflow.search.bench import BASE, Bench, make_base, open_bench
from autoflow.search.calibration import balance, calibration_steps, settle, with_weights
from autoflow.search.objective import PUBLISHED, TERMS, Measurement, Metric, weighted
from autoflow.search.report_run import rebuild_report
from autoflow.search.results import finished
from autoflow.search.run import run_search
from autoflow.search.settings import Calibration, SearchSettings
from autoflow.search.study import read_study
from autoflow.search.work import open_trials, storage_of, work
from selfflow.io import write_image
from selfflow.objective import ObjectiveSettings
from selfflow.runs.errors import UserError

CPU = torch.device("cpu")


def measurement(photometric: float, smoothness: float, distillation: float) -> Measurement:
    return Measurement(1, 0.0, photometric, 2 * photometric, smoothness, distillation, 0.5, None)


NETWORKS = [measurement(1, 10, 0.2), measurement(2, 12, 0.2), measurement(3, 14, 0.3)]


# --- the weights --------------------------------------------------------------------------------


def test_weights_are_in_inverse_proportion_to_the_spread() -> None:
    found = balance(NETWORKS, ObjectiveSettings(photometric=2))
    # Spreads: 1 of photometric, 2 of smoothness, 0.1/√3 of distillation.
    assert found["weights"] == {"photometric": 2, "smoothness": 1, "distillation": 34.64}
    assert found["spread"]["smoothness"] == 2
    assert found["mean"]["photometric"] == 2
    assert (found["kept"], found["networks"]) == ([], 3)


def test_the_charged_term_is_balanced_where_it_is_the_one_that_counts() -> None:
    found = balance(NETWORKS, ObjectiveSettings(charge_uncovered=True))
    assert found["weights"] == {"photometric": 1, "smoothness": 1, "distillation": 34.64}


values = st.lists(st.tuples(*[st.integers(1, 1000)] * 3), min_size=3, max_size=8).filter(
    lambda rows: all(len(set(column)) > 1 for column in zip(*rows, strict=True))
)


@settings(max_examples=40)
@given(values, st.booleans())
def test_balanced_terms_vary_equally(rows: list[tuple[int, int, int]], charged: bool) -> None:
    networks = [measurement(*row) for row in rows]
    found = balance(networks, ObjectiveSettings(charge_uncovered=charged))
    name = "photometric_charged" if charged else "photometric"
    varied = [
        found["weights"][term] * stdev(getattr(each, own) for each in networks)
        for term, own in zip(TERMS, (name, "smoothness", "distillation"), strict=True)
    ]
    assert varied == pytest.approx([varied[0]] * 3, rel=1e-3)
    assert balance(networks[::-1], ObjectiveSettings(charge_uncovered=charged)) == found


def test_a_term_that_does_not_vary_keeps_its_weight() -> None:
    networks = [replace(each, distillation=0.1) for each in NETWORKS]
    found = balance(networks, ObjectiveSettings(distillation=0.7))
    assert found["weights"] == {"photometric": 1, "smoothness": 0.5, "distillation": 0.7}
    assert found["kept"] == ["distillation"]


def test_networks_that_say_nothing_are_refused() -> None:
    with pytest.raises(UserError, match="2 networks could be measured"):
        balance(NETWORKS[:2], ObjectiveSettings())
    equal = [replace(each, photometric=1.0) for each in NETWORKS]
    with pytest.raises(UserError, match="equal in the photometric term"):
        balance(equal, ObjectiveSettings())


# --- the metric ---------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [1, 2])
def test_published_weights_are_those_of_smurf(order: int) -> None:
    terms = ObjectiveSettings.model_validate(
        {"photometric": 9, "smoothness": 9, "distillation": 9, "smoothness_order": order}
    )
    objective = Metric(weights="published", terms=terms).objective()
    assert {term: getattr(objective, term) for term in TERMS} == PUBLISHED[order]
    assert objective.smoothness == {1: 2.5, 2: 2.0}[order]
    assert objective.smoothness_order == order


def test_balanced_weights_are_asked_for_only_by_all_terms_together() -> None:
    assert not Metric(weights="balanced").is_settled
    assert Metric(name="smoothness", weights="balanced").is_settled
    assert Metric(name="aepe", weights="balanced").is_settled
    with pytest.raises(ValueError, match="not known yet"):
        Metric(weights="balanced").objective()
    with pytest.raises(ValueError, match="photometric is 0"):
        Metric(weights="balanced", terms=ObjectiveSettings(photometric=0))


def test_settled_weights_are_those_of_omega() -> None:
    metric = Metric(weights="balanced").settled({"smoothness": 7.0, "distillation": 8.0})
    objective = metric.objective()
    assert (objective.photometric, objective.smoothness, objective.distillation) == (1, 7, 8)
    published = Metric(weights="published")
    assert published.settled() == published


# --- in a search --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("target") / "moving"
    folder.mkdir()
    for index in range(4):
        write_image(folder / f"{index:03d}.png", Moving().frame(index))
    return folder


def balanced_settings(frames: Path, storage: Path | None = None) -> SearchSettings:
    settings = small_settings(str(frames), trials=1)
    # Untrained networks agree with themselves nowhere, and would all be alike.
    terms = ObjectiveSettings(occlusion="none")
    metric = settings.metric.model_copy(update={"weights": "balanced", "terms": terms})
    update: dict[str, Any] = {"metric": metric, "calibration": Calibration(networks=3, share=0.5)}
    if storage is not None:
        update["storage"] = f"sqlite:///{storage}"
    return settings.model_copy(update=update)


def prepared(settings: SearchSettings, path: Path) -> tuple[optuna.Study, Bench]:
    path.mkdir(exist_ok=True)
    bench = open_bench(settings, path, CPU)
    if not (path / BASE).exists():
        make_base(settings, bench, path)
    bench = open_bench(settings, path, CPU)
    return open_trials(settings, bench, path), bench


def networks(settings: SearchSettings, path: Path) -> list[str]:
    study = read_study(storage_of(settings, path), f"{settings.name}-calibration")
    return [trial.key for trial in finished(study)]


@dataclass(frozen=True)
class Calibrated:
    """A run whose weights are settled."""

    settings: SearchSettings
    path: Path
    study: optuna.Study
    bench: Bench


@pytest.fixture(scope="module")
def calibrated(frames: Path, tmp_path_factory: pytest.TempPathFactory) -> Calibrated:
    folder = tmp_path_factory.mktemp("calibrated")
    settings, path = balanced_settings(frames, folder / "study.db"), folder / "run"
    study, bench = prepared(settings, path)
    return Calibrated(settings, path, study, settle(study, bench, path, owner="me"))


def test_the_networks_are_the_first_points_after_some_steps(calibrated: Calibrated) -> None:
    settings, path = calibrated.settings, calibrated.path
    assert calibration_steps(settings) == 3
    own = read_study(storage_of(settings, path), f"{settings.name}-calibration")
    assert networks(settings, path) == ["start-0", "start-1", "start-2"]
    assert [[m.step for m in trial.course] for trial in finished(own)] == [[1]] * 3
    measured = [trial.course[0] for trial in finished(own)]
    stored = calibrated.study.user_attrs["weights"]
    assert stored == balance(measured, settings.metric.terms)
    assert json.loads((path / "weights.json").read_text()) == stored
    assert not list((path / "calibration" / "trials").glob("*"))


def test_trials_are_measured_with_the_balanced_weights(calibrated: Calibrated) -> None:
    study = calibrated.study
    work(study, calibrated.bench, calibrated.path, owner="me")
    objective = ObjectiveSettings(**study.user_attrs["weights"]["weights"])
    (trial,) = finished(study)
    assert trial.omega == study.best_value
    assert [weighted(each, objective) for each in trial.course] == [m.omega for m in trial.course]


def test_who_comes_later_reads_the_weights_of_the_study(
    calibrated: Calibrated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Another host: its own folder, with the base network of the first.
    there = tmp_path / "there"
    there.mkdir()
    (there / BASE).write_bytes((calibrated.path / BASE).read_bytes())
    study, bench = prepared(calibrated.settings, there)
    monkeypatch.setattr(calibration, "work", None)
    settled = settle(study, bench, there, owner="there")
    first = calibrated.bench.settings.metric
    assert settled.settings.metric == first != calibrated.settings.metric
    assert with_weights(bench, study).settings.metric == first
    texts = [(path / "weights.json").read_text() for path in (calibrated.path, there)]
    assert texts[0] == texts[1]


def test_a_calibration_that_is_cut_off_is_gone_on_with(
    frames: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, run = balanced_settings(frames), tmp_path / "run"
    study, bench = prepared(settings, run)
    late = settle(study, bench, run, owner="me", deadline=time.time() - 1)
    assert late is bench
    assert "weights" not in study.user_attrs
    assert not (run / "weights.json").exists()

    def one(study, bench, path, **rest):
        shorter = bench.settings.model_copy(update={"trials": 1})
        work(study, replace(bench, settings=shorter), path, **rest)

    with monkeypatch.context() as patch:
        patch.setattr(calibration, "work", one)
        assert settle(study, bench, run, owner="me") is bench
    assert networks(settings, run) == ["start-0"]
    assert settle(study, bench, run, owner="me").settings.metric.is_settled
    assert networks(settings, run) == ["start-0", "start-1", "start-2"]


def test_known_weights_take_no_calibration(frames: Path, tmp_path: Path) -> None:
    settings, run = small_settings(str(frames)), tmp_path / "run"
    study, bench = prepared(settings, run)
    assert settle(study, bench, run, owner="me") is bench
    assert with_weights(bench, study) is bench
    assert not (run / "weights.json").exists()


@pytest.mark.slow
def test_a_whole_search_has_balanced_weights(
    frames: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SELFFLOW_HOME", str(tmp_path / "home"))
    settings, run = balanced_settings(frames), tmp_path / "run"
    found = run_search(settings, run, CPU)
    objective = ObjectiveSettings(**json.loads((run / "weights.json").read_text())["weights"])
    best = Measurement(**found.results["best"])
    assert weighted(best, objective) == best.omega
    again = rebuild_report(settings, run, CPU)
    for name in ("best", "network_omega", "base_omega"):
        assert again.results[name] == found.results[name]


@pytest.mark.slow
def test_processes_that_begin_together_have_the_same_weights(frames: Path, tmp_path: Path) -> None:
    """Two commands in folders of their own, as on two hosts, one of them with two workers."""
    settings = balanced_settings(frames, tmp_path / "study.db")
    changes = {
        "base.init": "default-small",
        "base.steps": 0,
        "training.architecture": "raft-small",
        "training.optimisation.crop": [32, 32],
        "metric.weights": "balanced",
        "metric.iterations": 1,
        "calibration.networks": 3,
        "pairs.count": 2,
        "pairs.side": 32,
        "trial.steps": 3,
        "trial.pictures": 0,
    }
    command = [sys.executable, "-m", "autoflow", "search", "--target", str(frames), "--trials", "3"]
    command += ["--storage", str(settings.storage), "--no-train", "--device", "cpu"]
    command += [f"--set={key}={json.dumps(value)}" for key, value in changes.items()]
    runs = [
        subprocess.Popen([*command, "--workers", str(count), "--out", str(tmp_path / f"{count}")])
        for count in (1, 2)
    ]
    assert [run.wait(timeout=600) for run in runs] == [0, 0]
    weights = [json.loads((tmp_path / name / "weights.json").read_text()) for name in ("1", "2")]
    assert weights[0] == weights[1]
    study = read_study(str(settings.storage), "s-af")
    own = read_study(str(settings.storage), "s-af-calibration")
    assert sorted(trial.key for trial in finished(own)) == [f"start-{n}" for n in range(3)]
    objective = ObjectiveSettings(charge_uncovered=True, **weights[0]["weights"])
    measured = [each for trial in finished(study) for each in trial.course]
    assert len(measured) >= 3
    assert [weighted(each, objective) for each in measured] == [each.omega for each in measured]
