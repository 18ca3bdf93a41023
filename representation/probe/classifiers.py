"""Classifiers without training: a linear one in closed form, and nearest neighbours."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from representation.readout.nearest import nearest_neighbours

Classifier = Callable[[Tensor], Tensor]  # features `(N, C)` to scores `(N, classes)`

TEMPERATURE = 0.07  # of the neighbours' votes, as in DINO's k-NN evaluation


def ridge(features: Tensor, labels: Tensor, classes: int, strength: float = 0.01) -> Classifier:
    """Return the linear map of least squares from features to one-hot labels.

    Of features at zero mean and unit variance, it minimises the mean over all N of |x W - y|², plus
    `strength` · |W|²; the constant of each class is not charged. So no learning rate has to be
    found.

    Args:
        features: `(N, C)`.
        labels: from 0 to `classes` - 1, `(N,)`.
        classes: how many.
        strength: of the charge.
    """
    wide = features.float()
    mean, spread = wide.mean(0), wide.std(0, correction=0).clamp_min(1e-6)
    inputs = (wide - mean) / spread
    wanted = F.one_hot(labels, classes).float()
    constant = wanted.mean(0)
    gram = (inputs.T @ inputs / len(inputs)).double()
    gram.diagonal().add_(strength)
    product = (inputs.T @ (wanted - constant) / len(inputs)).double()
    weights = torch.linalg.solve(gram, product).float()
    return lambda others: (others.float() - mean) / spread @ weights + constant


def neighbours(features: Tensor, labels: Tensor, classes: int, count: int = 20) -> Classifier:
    """Return the votes of the `count` most similar features, see `nearest_neighbours`.

    Args:
        features: `(N, C)`.
        labels: from 0 to `classes` - 1, `(N,)`.
        classes: how many.
        count: of those that vote.
    """
    return lambda others: nearest_neighbours(
        others.float(),
        features.float(),
        labels,
        count=count,
        temperature=TEMPERATURE,
        classes=classes,
    )
