"""What a self-supervised training is made of: choices, pairs, measurements."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from selfflow.collapse import Sight
from selfflow.frames import FrameCache, PairAddress, find_pairs
from selfflow.io import write_flo
from selfflow.known_motion import SHIFTS, shift_errors
from selfflow.metrics import endpoint_error
from selfflow.models import save
from selfflow.objective import ObjectiveSettings, measure
from selfflow.raft import raft_small
from selfflow.runs.config import load, read_toml
from selfflow.runs.errors import UserError
from selfflow.runs.run import Run
from selfflow.stage_config import resolve
from selfflow.stages import DEFAULT, kind_named, stage_of
from selfflow.training import Training, divide, few_pairs, measure_pairs
from selfflow.unsupervised_config import DEVICE_DEFAULTS, UnsupervisedConfig
from selfflow.video import open_target

RECIPES = [
    path
    for path in sorted((Path(__file__).parents[2] / "configs" / "train").glob("*.toml"))
    if stage_of(path) == DEFAULT and "stages" not in read_toml(path)  # which is a chain
]


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SELFFLOW_HOME", str(tmp_path / "home"))


def keep(name, **metadata):
    torch.manual_seed(0)
    network = raft_small()
    save(name, network, metadata)
    return network


def test_network_and_target_default_to_what_the_store_holds():
    keep("s-af-small", target="davis")
    config, lines = resolve(UnsupervisedConfig())
    assert (config.init, config.target) == ("s-af-small", "davis")
    keep("s-af", target="sample")
    config, lines = resolve(UnsupervisedConfig())
    assert (config.init, config.target) == ("s-af", "sample")
    assert lines == ["starting from s-af", "target sample, which s-af was made for"]


def test_what_is_given_is_taken():
    keep("mine")
    config, lines = resolve(UnsupervisedConfig(init="mine", target="davis"))
    assert (config.init, config.target, lines) == ("mine", "davis", [])


def test_no_network_is_a_clear_error(monkeypatch):
    monkeypatch.setattr("selfflow.stage_config.stored_models", dict)
    with pytest.raises(UserError, match=r"no network to start from.*--init"):
        resolve(UnsupervisedConfig())


def test_a_network_without_a_target_needs_one():
    keep("mine")
    with pytest.raises(UserError, match="--target is needed"):
        resolve(UnsupervisedConfig(init="mine"))


def test_the_first_network_is_not_replaced():
    keep("s-af", target="davis")
    with pytest.raises(UserError, match="would replace"):
        resolve(UnsupervisedConfig(name="s-af"))


def test_held_out_pairs_share_no_frame_with_the_others():
    pairs = [PairAddress(name, i, i + 1) for name in "ab" for i in range(40)]
    train, held_out = divide(pairs, 6, seed=1)
    assert len(held_out) == 6
    assert {pair.sequence for pair in held_out} == {"a", "b"}
    frames = [{(p.sequence, i) for p in part for i in p[1:]} for part in (train, held_out)]
    assert not frames[0] & frames[1]
    assert len(train) >= 80 - 3 * 6


def test_a_short_video_is_measured_on_what_it_is_trained_on():
    pairs = [PairAddress("a", 0, 1)]
    assert divide(pairs, 6, seed=0) == (pairs, pairs)


def test_measured_terms_are_means_over_pairs(films, tmp_path):
    films.write_frames(tmp_path / "film", films.film(0, 4, height=64, width=72))
    target = open_target(str(tmp_path / "film"))
    cache, pairs = FrameCache(target), find_pairs(target)
    network = keep("mine")
    terms = ObjectiveSettings()
    result = measure_pairs(network, cache, pairs, terms, 2, torch.device("cpu"))
    each = [measure(network, cache.load(p), terms, 2) for p in pairs]
    expected = {name: sum(values[name].item() for values in each) / 3 for name in each[0]}
    shifted = [shift_errors(network.eval(), cache.load(p).image1, 2) for p in pairs]
    expected |= dict(zip(SHIFTS, (sum(shifted) / 3).tolist(), strict=True))
    assert result == pytest.approx(expected, rel=1e-5)
    assert "epe" not in result


def test_measured_epe_is_that_of_labelled_pairs(films, tmp_path):
    frames = films.film(0, 3, height=64, width=72)
    root = tmp_path / "sintel" / "training"
    for name in ("clean", "final"):
        films.write_frames(root / name / "scene", frames, "frame_{:04d}.png")
    for number in range(2):
        flow = np.full((64, 72, 2), (-3.0, 0.0), np.float32)
        write_flo(root / "flow" / "scene" / f"frame_{number:04d}.flo", flow)
    target = open_target(str(tmp_path / "sintel"))
    cache, network = FrameCache(target), keep("mine")
    pairs = find_pairs(target, skip_static=False, skip_cuts=False)[:1]
    result = measure_pairs(network, cache, pairs, ObjectiveSettings(), 2, torch.device("cpu"))
    batch = cache.load(pairs[0])
    with torch.no_grad():
        error = endpoint_error(network.eval()(batch.image1, batch.image2, 2), batch.flow)
    assert result["epe"] == pytest.approx(error.mean().item(), rel=1e-5)


@pytest.mark.parametrize("kind", ["self-supervised", "multiframe"])
def test_frames_that_one_evaluates_on_can_be_left_out(films, tmp_path, kind):
    keep("mine")
    films.write_frames(tmp_path / "pairs", films.film(0, 9, height=64, width=72), "{:02d}.png")
    write_flo(tmp_path / "sintel/training/flow/pan/03.flo", np.zeros((64, 72, 2), np.float32))
    for part in ("clean", "final"):
        shutil.copytree(tmp_path / "pairs", tmp_path / "sintel/training" / part / "pan")
    stage = kind_named(kind)
    values = {"init": "mine", "target": str(tmp_path / "sintel"), "device": "cpu"}
    for margin, lengths in ((None, [9]), (1, [2, 3])):
        config, _ = resolve(load(stage.config, values=values | {"label_margin": margin}))
        target = stage.prepare(config).target
        assert [len(sequence) for sequence in target.sequences] == lengths


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipes_can_be_read(path):
    config = load(UnsupervisedConfig, file=path)
    assert config != UnsupervisedConfig()


def test_the_defaults_of_each_device_can_be_read():
    for defaults in DEVICE_DEFAULTS.values():
        assert load(UnsupervisedConfig, defaults=defaults).loop.steps < 1000


def test_pairs_of_which_most_are_useless_are_warned_of(films, tmp_path):
    films.write_frames(tmp_path / "film", films.film(0, 9, height=40, width=48))
    target = open_target(str(tmp_path / "film"))
    assert few_pairs(target, found=4, gaps=(1,), limit=100) == []
    (text,) = few_pairs(target, found=3, gaps=(1,), limit=100)
    assert "5 of 8 pairs" in text
    (text,) = few_pairs(target, found=2, gaps=(1, 2), limit=6)
    assert "4 of 6 pairs" in text


def trained(films, tmp_path, **changes):
    """A short training; what it returns and its run folder."""
    if not (tmp_path / "film").exists():
        films.write_frames(tmp_path / "film", films.film(0, 8, height=64, width=72))
        keep("mine", target=str(tmp_path / "film"))
    small = {
        "init": "mine", "device": "cpu", "crop": (64, 64), "margin": (4, 4), "batch_size": 1,
        "short_side": None, "held_out": 1, "losses.iterations": 1, "loop.steps": 3,
        "guard_every": 2,
    }  # fmt: skip
    config, _ = resolve(load(UnsupervisedConfig, values=small | changes))
    with Run.open(tmp_path / "run", "train", config) as run:
        return Training.prepare(config).run(run), run.path


def test_a_training_from_end_to_end(films, tmp_path):
    results, path = trained(films, tmp_path)
    assert results["steps"] == 3
    assert results["before"].keys() == results["after"].keys()
    assert results["before"] != results["after"]
    assert results["title"].endswith("means over 1 held-out pair, whole frames, 1 iteration")
    assert results["warnings"] == []
    assert 0 <= results["seconds_waiting"] <= results["seconds"]
    assert json.loads((path / "results.json").read_text())["model"] == results["model"]
    again, _ = trained(films, tmp_path)
    assert again["after"] == pytest.approx(results["after"])
    assert again["before"] == results["before"]


def test_forgotten_motion_is_warned_of_in_the_results(films, tmp_path, monkeypatch):
    monkeypatch.setattr("selfflow.training.forgotten", lambda before, after: ["it forgets"])
    results, _ = trained(films, tmp_path)
    assert results["warnings"] == ["it forgets"]
    assert set(SHIFTS) <= results["before"].keys()


def test_lost_motion_is_warned_of_in_the_results(films, tmp_path, monkeypatch):
    sights = iter([Sight(2.0, 1.0, 2.0), Sight(0.01, 2.0, 2.0)])
    monkeypatch.setattr("selfflow.training.look", lambda *arguments: next(sights))
    results, path = trained(films, tmp_path)
    (text,) = results["warnings"]
    assert "after 2 steps" in text
    assert "0.01 px" in text
    assert json.loads((path / "results.json").read_text())["warnings"] == [text]


def test_a_target_that_stands_still_is_a_clear_error(films, tmp_path):
    films.write_frames(tmp_path / "film", films.film(0, 1, height=64, width=72) * 6)
    keep("mine", target=str(tmp_path / "film"))
    with pytest.raises(UserError, match="all 5 are static"):
        trained(films, tmp_path)
    assert not (tmp_path / "run" / "pairs.json").exists()
