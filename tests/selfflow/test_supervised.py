"""Training with labels: the loss falls, steps are RAFT's, a stopped run goes on."""

import pytest
import torch

from selfflow.losses import sequence_loss
from selfflow.pairs import Pairs
from selfflow.raft import raft_small
from selfflow.runs.loop import LoopSettings
from selfflow.supervised import Supervised, TrainSettings, train_supervised


def shifted(step=0):
    """Noise that moves by (2, -1) pixels; a pure function of the step."""
    generator = torch.Generator().manual_seed(step)
    noise = torch.rand(2, 3, 72, 72, generator=generator)
    noise = torch.nn.functional.avg_pool2d(noise, 5, stride=1)
    flow = torch.tensor((2.0, -1.0)).view(1, 2, 1, 1).expand(2, 2, 64, 64)
    return Pairs(noise[..., 2:66, 2:66], noise[..., 3:67, :64], flow)


def settings(steps, **changes):
    loop = LoopSettings(steps=steps, log_every=5)
    return TrainSettings(loop=loop, batch_size=2, iterations=3, learning_rate=1e-3, **changes)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return raft_small()


def test_a_step_is_the_sequence_loss_of_all_iterations(network):
    batch = shifted()
    terms = Supervised(network, settings(1, gamma=0.7)).step(batch, 0)
    predictions = network.predictions(batch.image1, batch.image2, 3)
    valid = torch.ones(2, 1, 64, 64).bool()
    assert len(predictions) == 3
    expected = sequence_loss(predictions, batch.flow, valid, gamma=0.7)
    torch.testing.assert_close(terms["loss"], expected)
    error = (predictions[-1] - batch.flow).square().sum(1).sqrt().mean()
    torch.testing.assert_close(terms["epe"], error.detach())


def test_training_learns_a_shift(network):
    start = Supervised(network, settings(1)).step(shifted(), 0)["epe"]
    result = train_supervised(network, lambda step: shifted(), settings(25))
    assert result.steps == 25
    assert result.means["epe"] < 0.7 * start


def test_pictures_show_frame_label_and_prediction(network):
    task = Supervised(network, settings(1))
    assert task.pictures() == {}
    task.step(shifted(), 0)
    (picture,) = task.pictures().values()
    assert picture.shape == (3, 64, 3 * 64)


def test_pairs_without_flow_are_refused(network):
    batch = shifted()
    with pytest.raises(ValueError, match="flow"):
        Supervised(network, settings(1)).step(Pairs(batch.image1, batch.image2), 0)


def test_the_rate_is_one_cycle_or_constant():
    cycle = settings(100)
    assert cycle.rate(0) < cycle.rate(5) == pytest.approx(1e-3)
    assert cycle.rate(99) < 2e-5
    assert settings(100, schedule="constant").rate(99) == 1e-3
