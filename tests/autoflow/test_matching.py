import math

import pytest
import torch

from autoflow.hyperparameters import Hyperparameters
from autoflow.matching import easy_scenes, easy_set, learn_to_match, matching_loss
from autoflow.render import render
from autoflow.train import new_network
from selfflow.flow import pixel_grid


def slow_loss(features1, features2, target):
    """Cell by cell, in Python."""
    _, channels, height, width = features1.shape
    losses = torch.zeros(height, width, dtype=torch.float64)
    for row in range(height):
        for column in range(width):
            scores = {
                (y, x): float(features1[0, :, row, column] @ features2[0, :, y, x]) / channels**0.5
                for y in range(height)
                for x in range(width)
            }
            total = math.log(sum(math.exp(score) for score in scores.values()))
            x, y = target[0, :, row, column].tolist()
            for (cell_y, cell_x), score in scores.items():
                weight = max(0, 1 - abs(x - cell_x)) * max(0, 1 - abs(y - cell_y))
                losses[row, column] += weight * (total - score)
    return losses


def test_loss_equals_its_slow_twin_in_value_and_gradient() -> None:
    generator = torch.Generator().manual_seed(0)
    features = [
        torch.randn(1, 6, 4, 5, generator=generator, dtype=torch.float64, requires_grad=True)
        for _ in range(2)
    ]
    shift = 2 * torch.randn(1, 2, 4, 5, generator=generator, dtype=torch.float64)
    target = pixel_grid(4, 5, dtype=torch.float64) + shift
    target[:, :, 0, 0] = torch.tensor([4.0, 3.0])  # the last cell exactly
    loss, known = matching_loss(*features, target)
    x, y = target[0]
    expected_known = (x >= 0) & (x <= 4) & (y >= 0) & (y <= 3)
    assert torch.equal(known[0, 0], expected_known)
    slow = slow_loss(*(each.detach() for each in features), target)
    torch.testing.assert_close(loss[0, 0][expected_known], slow[expected_known])
    assert torch.autograd.gradcheck(lambda a, b: matching_loss(a, b, target)[0], features)


def test_features_that_match_have_the_lowest_loss() -> None:
    features = 20 * torch.eye(12).view(1, 12, 3, 4)
    here = pixel_grid(3, 4)
    right, _ = matching_loss(features, features, here)
    wrong, _ = matching_loss(features, features, here.flip(-1))
    assert right.max() < 0.1 < 1 < wrong.min()


def test_easy_scenes_have_a_layer_at_most_and_no_effects() -> None:
    easy = easy_set(Hyperparameters())
    assert easy.layers.count == (0, 1)
    sample = render(easy, 0, torch.arange(4), size=(48, 64))
    assert int(sample.layers.max()) <= 1


@pytest.mark.slow
def test_features_learn_to_match() -> None:
    network = new_network("raft-small", 0, "cpu")
    before = [p.clone() for p in network.update_block.parameters()]
    losses = []
    for seed in (0, 1):
        scenes = easy_scenes(
            [Hyperparameters()], seed=seed, size=(64, 96), batch_size=4, device="cpu"
        )
        losses.append(learn_to_match(network, scenes, 25).means["loss"])
    assert losses[1] < 0.8 * losses[0]
    after = network.update_block.parameters()
    assert all(torch.equal(a, b) for a, b in zip(after, before, strict=True))
