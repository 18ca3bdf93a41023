"""The same trial measured twice gives the same Ω."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from known import moving_target

from autoflow.hyperparameters import Hyperparameters
from autoflow.search.objective import Metric, measure_target
from autoflow.search.pairs import PairSettings, choose_pairs
from autoflow.train import SceneTraining, new_network, train_on_scenes
from selfflow.objective import ObjectiveSettings
from selfflow.raft import RAFT
from selfflow.supervised import TrainSettings

# Networks of so few steps agree with themselves nowhere; so all pixels count.
METRIC = Metric(iterations=2, batch_size=2, terms=ObjectiveSettings(occlusion="none"))
Values = dict[str, float | int | None]


def trained(device: str) -> RAFT:
    """A network after two steps on the default scenes."""
    network = new_network("raft-small", 0, device)
    optimisation = TrainSettings(batch_size=1, crop=(32, 32), iterations=2)
    training = SceneTraining(architecture="raft-small", optimisation=optimisation)
    train_on_scenes(network, [Hyperparameters()], training.lasting(2, 1e-4), seed=3, title="twice")
    return network


def measured(network: RAFT, device: str = "cpu") -> Values:
    pairs = choose_pairs(moving_target(), PairSettings(count=3, side=48), device=device)
    return measure_target(network, pairs, METRIC).as_dict()


@pytest.fixture
def _two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_training_and_measuring_again_gives_the_same_bits() -> None:
    assert measured(trained("cpu")) == measured(trained("cpu"))


@pytest.mark.slow
@pytest.mark.usefixtures("_two_threads")
def test_another_number_of_threads_changes_the_rounding_alone() -> None:
    network = new_network("raft-small", 0, "cpu")
    two = measured(network)
    torch.set_num_threads(1)
    assert measured(network) == pytest.approx(two, rel=1e-4)


@pytest.mark.slow
def test_another_process_measures_the_same_bits() -> None:
    threads = torch.get_num_threads()
    program = (
        f"import json, sys, torch; sys.path.append('..'); torch.set_num_threads({threads}); "
        "from test_repeatable import measured, trained; "
        "print(json.dumps(measured(trained('cpu'))))"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=Path(__file__).parent, stdout=subprocess.PIPE, check=True)
    assert json.loads(done.stdout) == measured(trained("cpu"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_measures_the_same_up_to_rounding() -> None:
    network = trained("cuda")
    assert measured(network, "cuda") == pytest.approx(measured(network, "cuda"), rel=1e-4)
