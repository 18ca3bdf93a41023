"""Classification by nearest neighbours in feature space."""

import torch
import torch.nn.functional as F
from torch import Tensor

AT_A_TIME = 1024  # queries, so that similarities to a million keys take 4 GiB


def nearest_neighbours(
    queries: Tensor, keys: Tensor, labels: Tensor, *, count: int, temperature: float, classes: int
) -> Tensor:
    """Return the votes of each query's nearest keys, `(Q, classes)`.

    Each of the `count` keys with the largest cosine similarity votes for its label with weight
    exp(similarity / temperature) (Wu et al., "Unsupervised feature learning via non-parametric
    instance discrimination", CVPR 2018, section 3.4; also DINO's evaluation).

    Args:
        queries: `(Q, C)`.
        keys: `(K, C)`.
        labels: of the keys, `(K,)` int64.
        count: of neighbours; all keys where there are fewer.
        temperature: of the weights.
        classes: how many there are.
    """
    keys = F.normalize(keys, dim=1).T
    votes = []
    for part in F.normalize(queries, dim=1).split(AT_A_TIME):
        nearest = (part @ keys).topk(min(count, len(labels)), dim=1)
        # Relative to the best one: the same votes up to a factor, and none overflows.
        weights = ((nearest.values - nearest.values[:, :1]) / temperature).exp()
        empty = torch.zeros(len(part), classes, dtype=weights.dtype, device=weights.device)
        votes.append(empty.scatter_add_(1, labels[nearest.indices], weights))
    return torch.cat(votes)
