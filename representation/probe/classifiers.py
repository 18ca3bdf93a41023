"""Classifiers without training: a linear one in closed form, and nearest neighbours."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

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


def nearest_neighbours(
    features: Tensor, labels: Tensor, classes: int, count: int = 20
) -> Classifier:
    """Return the votes of the `count` most similar features, each weighted by exp(cos / 0.07).

    Args:
        features: `(N, C)`.
        labels: from 0 to `classes` - 1, `(N,)`.
        classes: how many.
        count: neighbours; all if there are fewer.
    """
    known, wanted = F.normalize(features.float(), dim=1), F.one_hot(labels, classes).float()

    def scores(others: Tensor) -> Tensor:
        similar = F.normalize(others.float(), dim=1) @ known.T
        best = similar.topk(min(count, len(known)), dim=1)
        weights = (best.values / TEMPERATURE).softmax(1)
        return (weights[..., None] * wanted[best.indices]).sum(1)

    return scores
