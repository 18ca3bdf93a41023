"""Supervised fine-tuning: recipes, what is refused, measurements, a run and its continuation."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from selfflow.finetuning import DEVICE_DEFAULTS, FineTuneConfig, FineTuning, measure_errors
from selfflow.io import write_flo, write_image, write_kitti_png
from selfflow.labelled import LabelledPair
from selfflow.mixture import Source
from selfflow.models import load_network, save
from selfflow.pairs import Pairs
from selfflow.raft import RAFT, raft_small
from selfflow.runs.config import load, replace_values
from selfflow.runs.errors import UserError
from selfflow.runs.run import Run
from selfflow.runs.store import find_model, read_metadata
from selfflow.stage_config import resolve
from selfflow.stages import kind_named, stage_of

RECIPES = Path(__file__).parents[2] / "configs" / "train"
STEP = 3  # px a frame to the left


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SELFFLOW_HOME", str(tmp_path / "home"))
    torch.manual_seed(0)
    save("first", raft_small(), {"target": "davis"})


@pytest.fixture
def data(films, tmp_path):
    """FlyingChairs, dense, and KITTI, sparse, in little."""
    flow = np.full((64, 88, 2), (-STEP, 0.0), np.float32)
    for number in range(9):
        frames = films.film(number, 2, height=64, width=88, step=STEP)
        for k in (0, 1):
            write_image(tmp_path / f"FlyingChairs/data/{number:05d}_img{k + 1}.ppm", frames[k])
            write_image(tmp_path / f"kitti/training/image_2/{number:06d}_{10 + k}.png", frames[k])
        write_flo(tmp_path / f"FlyingChairs/data/{number:05d}_flow.flo", flow)
        known = np.random.default_rng(number).random((64, 88)) < 0.2
        write_kitti_png(tmp_path / f"kitti/training/flow_occ/{number:06d}_10.png", flow, known)
    return tmp_path


def configured(steps=2, **values):
    sources = (
        Source(name="chairs", parts=("val",), zoom=(0, 0.2)),
        Source(name="kitti", weight=2, zoom=(0, 0.2), sparse=True),
    )
    settings = {
        "init": "first",
        "data": sources,
        "loop.steps": steps,
        "loop.precision": "float32",
        "loop.log_every": 1,
        "loop.pictures_every": 0,
        "batch_size": 2,
        "crop": (64, 64),
        "iterations": 2,
        "learning_rate": 1e-3,
        "held_out": 1,
        "device": "cpu",
    }
    return resolve(replace_values(FineTuneConfig(), settings | values))[0]


def trained(config, root, folder):
    with Run.open(root / folder, "train", config) as run:
        return FineTuning.prepare(config, root).run(run)


def weights(name="s-af-sup"):
    return load_network(name)[0].state_dict()


@pytest.mark.slow
def test_a_run_learns_from_dense_and_sparse_labels(data):
    config = configured(steps=40, schedule="constant")
    sources = tuple(source.model_copy(update={"flip": False}) for source in config.data)
    results = trained(replace_values(config, {"data": sources}), data, "run")
    for name in ("epe", "epe chairs val", "epe kitti"):
        assert results["after"][name] < 0.5 * results["before"][name]


def test_a_run_says_what_it_did_and_with_what(data):
    results = trained(configured(steps=2), data, "run")
    terms = ["epe", "fl_all"]
    names = [*terms, *(f"{term} {name}" for name in ("chairs val", "kitti") for term in terms)]
    assert list(results["before"]) == list(results["after"]) == names
    for stage in ("before", "after"):
        mean = (results[stage]["epe chairs val"] + results[stage]["epe kitti"]) / 2
        assert results[stage]["epe"] == pytest.approx(mean)
    assert results["title"] == (
        "means over images: 1 held-out pair of chairs val, 1 held-out pair of kitti"
    )
    assert results["pairs"] == {"trained": 16, "held_out": 2}
    assert (results["steps"], results["skipped"]) == (2, 0)
    assert json.loads((data / "run/results.json").read_text())["after"] == results["after"]
    listed = json.loads((data / "run/pairs.json").read_text())
    assert listed["kitti"]["trained"] == 8
    assert len(listed["kitti"]["measured"]) == 1
    about = read_metadata(find_model("s-af-sup"))
    assert about["labels"] is True
    assert about["target"] == "davis"
    assert about["made_by"] == "selfflow train --stage supervised"
    assert about["data"] == ["1 x chairs val", "2 x kitti"]
    assert (about["init"], about["steps"], about["seed"]) == ("first", 2, 0)


def test_a_stopped_run_goes_on_exactly(data):
    whole = configured(steps=3, schedule="constant")
    trained(whole, data, "whole")
    expected = weights()
    # `steps` may differ between sessions: one now, the others later.
    trained(configured(steps=1, schedule="constant"), data, "parts")
    assert any(not torch.equal(value, expected[key]) for key, value in weights().items())
    before = json.loads((data / "parts/before.json").read_text())
    results = trained(whole, data, "parts")
    assert results["before"] == before
    for key, value in weights().items():
        assert torch.equal(value, expected[key])


def test_other_data_in_a_continued_run_are_noticed(data):
    trained(configured(steps=1), data, "run")
    (data / "kitti/training/flow_occ/000003_10.png").unlink()
    with pytest.raises(UserError, match=r"data are no longer those that .*pairs.json lists"):
        trained(configured(steps=1), data, "run")


def test_an_estimate_says_what_is_mixed(data):
    lines = FineTuning.prepare(configured(steps=500), data).estimate()
    assert lines[0] == "raft-small from first, with labels, cpu"
    assert lines[1] == "data: chairs val 33.3% (8 pairs), kitti 66.7% (8 pairs)"
    assert lines[2] == "crops of 64x64, 2 iterations, 500 steps, batch 2, float32"
    assert "s a step" in lines[3]


def test_no_target_is_needed_and_that_of_the_first_network_is_kept(data):
    save("bare", raft_small(), {})
    config = configured(init="bare")
    assert config.target is None
    assert FineTuning.prepare(config, data).made_for is None
    assert FineTuning.prepare(configured(), data).made_for == "davis"
    assert FineTuning.prepare(configured(target="bdd100k"), data).made_for == "bdd100k"


@pytest.mark.parametrize("frozen", [True, False])
def test_batch_norms_are_frozen_where_asked_for(data, frozen):
    save("large", RAFT("raft-large"), {})
    config = configured(init="large", freeze_batch_norm=frozen)
    network = FineTuning.prepare(config, data).network
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms
    assert all(norm.training is not frozen for norm in norms)
    assert network.training


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"data": ()}, r"nothing to learn from.*--config"),
        ({"data": (Source(name="kitti"), Source(name="kitti"))}, "kitti is named twice"),
        ({"data": (Source(name="hd1k"),)}, r"hd1k not found.*hci-benchmark"),
        ({"data": (Source(name="chairs"),)}, "no pair of frames with known flow in train"),
        ({"data": (Source(name="kitti", parts=("clean",)),)}, "no part clean"),
    ],
)
def test_what_cannot_be_trained_on_is_said_before_anything_is_written(data, values, says):
    with pytest.raises(UserError, match=says):
        FineTuning.prepare(configured(**values), data)


def test_measured_errors_are_means_over_images():
    torch.manual_seed(1)
    network = raft_small()
    pairs, epe, outliers = [], [], []
    for number in range(2):
        images = torch.rand(2, 1, 3, 64, 72)
        flow = 5 * torch.randn(1, 2, 64, 72)
        valid = torch.rand(1, 1, 64, 72) < 0.5 if number else None
        batch = Pairs(images[0], images[1], flow, valid)
        pairs.append(LabelledPair(str(number), "", lambda batch=batch: batch))
        with torch.no_grad():
            found = network.eval()(batch.image1, batch.image2, 3)[0].double().numpy()
        network.train()
        truth = flow[0].double().numpy()
        error = np.hypot(*(found - truth))
        wrong = (error > 3) & (error > 0.05 * np.hypot(*truth))
        known = np.ones((64, 72), bool) if valid is None else valid[0, 0].numpy()
        epe.append(error[known].mean())
        outliers.append(100 * wrong[known].mean())
    errors = measure_errors(network, pairs, 3, torch.device("cpu"))
    assert network.training
    assert errors["epe"] == pytest.approx(np.mean(epe), rel=1e-5)
    assert errors["fl_all"] == pytest.approx(np.mean(outliers), rel=1e-5)


# RAFT's published schedule: steps, batch, crop, learning rate, weight decay, gamma.
PUBLISHED = {
    "chairs": (100_000, 10, (368, 496), 4e-4, 1e-4, 0.8),
    "things": (100_000, 6, (400, 720), 1.25e-4, 1e-4, 0.8),
    "sintel": (100_000, 6, (368, 768), 1.25e-4, 1e-5, 0.85),
    "kitti": (50_000, 6, (288, 960), 1e-4, 1e-5, 0.85),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_recipes_are_rafts(name):
    path = RECIPES / f"supervised-{name}.toml"
    kind = kind_named(stage_of(path))
    assert kind.config is FineTuneConfig
    config = load(FineTuneConfig, file=path, defaults=DEVICE_DEFAULTS["cpu"])
    assert (
        config.loop.steps,
        config.batch_size,
        config.crop,
        config.learning_rate,
        config.weight_decay,
        config.gamma,
    ) == PUBLISHED[name]
    assert config.freeze_batch_norm is (name != "chairs")
    assert {source.name for source in config.data} == (
        {"sintel", "kitti", "hd1k", "things"} if name == "sintel" else {name}
    )


def test_an_unknown_key_of_a_data_set_is_named(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text('stage = "supervised"\n[[data]]\nname = "kitti"\nwieght = 2\n')
    with pytest.raises(UserError, match=r"recipe.toml: unknown key data\.0\.wieght"):
        load(FineTuneConfig, file=path)
