"""What a self-supervised training is made of: choices, pairs, measurements."""

from pathlib import Path

import numpy as np
import pytest
import torch

from selfflow.frames import FrameCache, PairAddress, find_pairs
from selfflow.io import write_flo
from selfflow.metrics import endpoint_error
from selfflow.models import save
from selfflow.objective import measure
from selfflow.raft import raft_small
from selfflow.runs.config import load, read_toml, replace_values
from selfflow.runs.errors import UserError
from selfflow.stage_config import resolve
from selfflow.stages import DEFAULT, stage_of
from selfflow.training import divide, measure_pairs
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
    config = replace_values(UnsupervisedConfig(), {"losses.iterations": 2})
    result = measure_pairs(network, cache, pairs, config, torch.device("cpu"))
    each = [measure(network, cache.load(p), config.losses.terms, 2) for p in pairs]
    expected = {name: sum(terms[name].item() for terms in each) / 3 for name in each[0]}
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
    config = replace_values(UnsupervisedConfig(), {"losses.iterations": 2})
    pairs = find_pairs(target, skip_static=False, skip_cuts=False)[:1]
    result = measure_pairs(network, cache, pairs, config, torch.device("cpu"))
    batch = cache.load(pairs[0])
    with torch.no_grad():
        error = endpoint_error(network.eval()(batch.image1, batch.image2, 2), batch.flow)
    assert result["epe"] == pytest.approx(error.mean().item(), rel=1e-5)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipes_can_be_read(path):
    config = load(UnsupervisedConfig, file=path)
    assert config != UnsupervisedConfig()


def test_the_defaults_of_each_device_can_be_read():
    for defaults in DEVICE_DEFAULTS.values():
        assert load(UnsupervisedConfig, defaults=defaults).loop.steps < 1000
