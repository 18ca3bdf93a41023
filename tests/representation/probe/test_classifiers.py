import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from representation.probe.classifiers import neighbours, ridge


def points(count: int = 60, channels: int = 5, classes: int = 3) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(classes, (count,), generator=generator)
    centres = 3 * torch.randn(classes, channels, generator=generator)
    features = centres[labels] + torch.randn(count, channels, generator=generator)
    return 10 * features + 4, labels


def test_ridge_is_numpys_least_squares_with_the_charge_as_further_rows() -> None:
    features, labels = points()
    others, _ = points(20)
    found = ridge(features, labels, 3, 0.3)(others)
    x = features.double().numpy()
    mean, spread = x.mean(0), x.std(0)
    x = (x - mean) / spread
    wanted = np.eye(3)[labels.numpy()]
    rows = np.vstack((x, math.sqrt(0.3 * len(x)) * np.eye(5)))
    right = np.vstack((wanted - wanted.mean(0), np.zeros((5, 3))))
    weights = np.linalg.lstsq(rows, right, rcond=None)[0]
    expected = (others.double().numpy() - mean) / spread @ weights + wanted.mean(0)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)


def test_ridge_separates_what_is_linearly_separable_and_bears_constant_channels() -> None:
    features, labels = points()
    features = torch.cat((features, torch.ones(len(features), 2)), 1)
    assert (ridge(features, labels, 3)(features).argmax(1) == labels).float().mean() > 0.95


def test_neighbours_vote_as_in_a_loop() -> None:
    features, labels = points()
    others, _ = points(7)
    found = neighbours(features, labels, 3, 4)(others)
    for other, scores in zip(others, found, strict=True):
        similar = [F.cosine_similarity(other, each, dim=0).item() for each in features]
        nearest = sorted(range(len(similar)), key=lambda i: -similar[i])[:4]
        votes = [0.0] * 3
        for i in nearest:
            votes[labels[i]] += math.exp(similar[i] / 0.07)
        expected = [vote / sum(votes) for vote in votes]
        assert (scores / scores.sum()).tolist() == pytest.approx(expected, abs=1e-4)
