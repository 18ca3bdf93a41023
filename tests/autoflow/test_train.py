import json
from pathlib import Path

import pytest
import torch
from known import small_settings

from autoflow.hyperparameters import Hyperparameters
from autoflow.matching import easy_scenes
from autoflow.network import NetworkSettings, make_network
from autoflow.train import (
    HeadStart,
    measure_cost,
    new_network,
    read_photographs,
    scene_stream,
    train_on_scenes,
)
from selfflow.models import load, load_network
from selfflow.runs.config import to_toml
from selfflow.runs.errors import UserError
from selfflow.runs.run import Run

TRAINING = small_settings("sample").training
SETS = [Hyperparameters()]
CPU = torch.device("cpu")


def weights(network: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in network.parameters()])


def test_untrained_networks_are_the_same_for_the_same_seed() -> None:
    before = torch.random.get_rng_state()
    first, again, other = (weights(new_network("raft-small", s, CPU)) for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_training_is_the_same_for_the_same_seed_and_changes_the_network() -> None:
    found = []
    for seed in (0, 0, 1):
        network = new_network("raft-small", 0, CPU)
        train_on_scenes(network, SETS, TRAINING.lasting(2), seed=seed)
        found.append(weights(network))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    assert not torch.equal(found[0], weights(new_network("raft-small", 0, CPU)))


def test_another_length_changes_nothing_else() -> None:
    changed = TRAINING.lasting(7, 0.5)
    assert changed.optimisation.loop.steps == 7
    assert changed.optimisation.rate(0) == pytest.approx(0.5 / 25)
    assert changed.lasting(1000, TRAINING.optimisation.learning_rate) == TRAINING.lasting(1000)


def test_an_untrained_network_is_shown_easy_scenes_first(monkeypatch) -> None:
    seen = []
    monkeypatch.setattr(
        "autoflow.train.train_supervised", lambda _, batches, *a, **k: seen.append(batches)
    )
    head_start = HeadStart(easy=0.5, matching_steps=1)
    training = TRAINING.model_copy(update={"head_start": head_start}).lasting(4)
    network = new_network("raft-small", 0, CPU)
    before = weights(network.feature_encoder)
    train_on_scenes(network, SETS, training, seed=0)
    assert not torch.equal(weights(network.feature_encoder), before)
    size, count = training.optimisation.crop, training.optimisation.batch_size
    easy = easy_scenes(SETS, seed=0, size=size, batch_size=count, device=CPU)
    scenes = scene_stream(SETS, training, seed=0, device=CPU)
    for step, stream in enumerate((easy, easy, scenes, scenes)):
        assert torch.equal(seen[0](step).image1, stream.batch_at(step).image1)
    assert training.lasting(4, trained=True).head_start == HeadStart()


def test_cost_is_measured_without_a_trace() -> None:
    cost = measure_cost(SETS, TRAINING, CPU, steps=1)
    assert 0 < cost.seconds < 60
    assert cost.bytes > 2**20
    assert "s a step" in cost.describe(100)


def test_a_network_is_stored_with_its_origin(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("SELFFLOW_HOME", str(tmp_path / "home"))
    search = tmp_path / "search"
    search.mkdir()
    (search / "best.toml").write_text(to_toml(SETS[0]))
    (search / "config.toml").write_text('target = "davis"\n')
    settings = NetworkSettings(
        hyperparameters=str(search), name="mine", training=TRAINING.lasting(2), seed=5
    )
    with Run.open(tmp_path / "run", "train", settings) as run:
        trained = make_network(settings, run, CPU)
    network, metadata = load_network("mine")
    assert torch.equal(weights(network), weights(trained.network))
    assert metadata["target"] == "davis"
    assert metadata["steps"] == 2
    assert metadata["seed"] == 5
    assert metadata["hyperparameters"][0]["effects.fog"] == SETS[0].effects.fog
    assert json.loads((tmp_path / "run" / "results.json").read_text())["model"] == "mine"
    flow = load("mine")(torch.rand(1, 3, 40, 48), torch.rand(1, 3, 40, 48), 1)
    assert flow.shape == (1, 2, 40, 48)


def test_training_that_was_stopped_goes_on_to_the_same_weights(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("SELFFLOW_HOME", str(tmp_path / "home"))
    constant = TRAINING.optimisation.model_copy(update={"schedule": "constant"})
    training = TRAINING.model_copy(update={"optimisation": constant})
    found = []
    for name, lengths in (("whole", (3,)), ("halves", (1, 3))):
        for steps in lengths:
            settings = NetworkSettings(training=training.lasting(steps))
            with Run.open(tmp_path / name, "train", settings) as run:
                trained = make_network(settings, run, CPU)
        found.append(weights(trained.network))
    assert torch.equal(*found)


def test_photographs_come_from_a_folder_or_the_target(tmp_path: Path) -> None:
    assert read_photographs(None, "sample", None) is None
    with pytest.raises(UserError, match="no target is known"):
        read_photographs("target", None, None)
    with pytest.raises(UserError, match=str(tmp_path)):
        read_photographs(str(tmp_path), None, None)
