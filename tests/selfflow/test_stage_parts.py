"""What the stages of training share: measurements kept, networks kept twice, results."""

import json

import pytest
import torch

from selfflow.models import NETWORK, load_network, save
from selfflow.raft import raft_small
from selfflow.runs.loop import LoopSettings, Result
from selfflow.runs.run import Run
from selfflow.runs.store import read_metadata, store
from selfflow.stage_parts import (
    counted_pairs,
    keep_network,
    measured_before,
    sizes,
    store_results,
)
from selfflow.unsupervised_config import UnsupervisedConfig


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("SELFFLOW_HOME", str(tmp_path / "home"))
    (tmp_path / "run").mkdir()
    return Run(tmp_path / "run")


def network(seed):
    torch.manual_seed(seed)
    return raft_small()


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_what_was_measured_once_is_read_again(run):
    assert measured_before(run, lambda: {"epe": 1.5}) == {"epe": 1.5}
    assert json.loads((run.path / "before.json").read_text()) == {"epe": 1.5}
    assert measured_before(run, pytest.fail) == {"epe": 1.5}


def test_a_run_keeps_its_network_when_another_takes_its_name(run):
    path = keep_network(run, "mine", network(0), {"steps": 3})
    assert path == store() / "mine.safetensors"
    assert same(load_network("mine")[0], network(0))
    save("mine", network(1), {})
    kept, about = load_network(run.path / NETWORK)
    assert same(kept, network(0))
    assert about["steps"] == 3
    assert same(load_network(run.path)[0], network(0))


def test_results_are_returned_as_they_are_written(run):
    config = UnsupervisedConfig(init="first", target="davis", name="mine", seed=4)
    result = Result(steps=7, seconds=1.26, skipped=2)
    results = store_results(run, config, network(0), result, {"before": {"epe": 2.0}})
    assert json.loads((run.path / "results.json").read_text()) == results
    assert results == {
        "target": "davis",
        "init": "first",
        "before": {"epe": 2.0},
        "steps": 7,
        "seconds": 1.26,
        "skipped": 2,
        "model": str(store() / "mine.safetensors"),
    }
    about = read_metadata(run.path / NETWORK)
    assert about == read_metadata(store() / "mine.safetensors")
    assert about == {
        "kind": "flow",
        "architecture": "raft-small",
        "made_by": "selfflow train --stage self-supervised",
        "target": "davis",
        "init": "first",
        "seed": 4,
        "steps": 7,
        "seconds": 1.3,
    }
    about = {"target": "sintel", "labels": True}
    results = store_results(run, config, network(0), result, {}, about)
    assert results["target"] == "sintel"
    assert read_metadata(run.path / NETWORK)["labels"] is True


def test_titles_and_sizes_are_said_with_the_right_plurals():
    assert counted_pairs(1, trained_on=False) == "1 held-out pair"
    assert counted_pairs(3, trained_on=False) == "3 held-out pairs"
    assert counted_pairs(1, trained_on=True) == "1 pair trained on"
    assert counted_pairs(2, trained_on=True) == "2 pairs trained on"
    said = sizes((64, 96), 1, LoopSettings(steps=5), 2)
    assert said.startswith("crops of 64x96, 1 iteration, 5 steps, batch 2")
