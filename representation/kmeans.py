"""K-means: vectors of an image in a few clusters. Deterministic, for batches, on any device."""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Metric = Literal["cosine", "euclidean"]


@dataclass(frozen=True)
class Clusters:
    """Which cluster each point is in.

    Attributes:
        labels: from 0 to K - 1, `(B, N)`.
        centroids: `(B, K, C)`; of unit length if the metric is the cosine.
    """

    labels: Tensor
    centroids: Tensor


@torch.no_grad()
def kmeans(
    points: Tensor, clusters: int, *, metric: Metric = "cosine", iterations: int = 20
) -> Clusters:
    """Return the clusters of each batch element's points, by Lloyd's algorithm.

    With the cosine ("spherical k-means"), points and centroids are brought to unit length; nearest
    is then the same as most similar. In at least float32, also under autocast.

    It starts from the point farthest from the mean, then again and again the one farthest from all
    chosen so far: nothing is random, and the order of the points does not matter but in ties. A
    cluster that has lost all its points stays where it is. There is no test of convergence, for
    which a GPU would have to be waited for; where points no longer change clusters, further
    iterations change nothing.

    Args:
        points: `(B, N, C)`.
        clusters: K, at most N, else a ValueError.
        metric: of the distance between points and centroids.
        iterations: how often centroids are moved.
    """
    if points.ndim != 3 or not 1 <= clusters <= points.shape[1]:
        raise ValueError(f"points {tuple(points.shape)} cannot be put into {clusters} clusters")
    points = points.to(torch.promote_types(points.dtype, torch.float32))
    with torch.autocast(points.device.type, enabled=False):
        if metric == "cosine":
            points = F.normalize(points, dim=2)
        centroids = _far_apart(points, clusters)
        labels = nearest(points, centroids)
        for _ in range(iterations):
            centroids = _means(points, labels, centroids)
            if metric == "cosine":
                centroids = F.normalize(centroids, dim=2)
            labels = nearest(points, centroids)
    return Clusters(labels, centroids)


def nearest(points: Tensor, centroids: Tensor) -> Tensor:
    """Return which of `centroids` `(B, K, C)` is nearest to `points` `(B, N, C)`, `(B, N)`."""
    return _distances(points, centroids).argmin(2)


def _distances(points: Tensor, others: Tensor) -> Tensor:
    # Products of matrices would lose small distances between long vectors to rounding.
    return torch.cdist(points, others, compute_mode="donot_use_mm_for_euclid_dist")


def _far_apart(points: Tensor, count: int) -> Tensor:
    """Return points that lie far apart, `(B, count, C)`."""
    place = torch.arange(len(points), device=points.device)
    least = _distances(points, points.mean(1, keepdim=True))[..., 0]
    chosen = points[place, least.argmax(1)][:, None]
    least = _distances(points, chosen)[..., 0]
    while chosen.shape[1] < count:
        new = points[place, least.argmax(1)][:, None]
        least = torch.minimum(least, _distances(points, new)[..., 0])
        chosen = torch.cat((chosen, new), 1)
    return chosen


def _means(points: Tensor, labels: Tensor, centroids: Tensor) -> Tensor:
    """Return the mean of each cluster's points; of a cluster without any, its old centroid."""
    means, sizes = cluster_means(points, labels, centroids.shape[1])
    return torch.where(sizes[..., None] > 0, means, centroids)


def cluster_means(points: Tensor, labels: Tensor, clusters: int) -> tuple[Tensor, Tensor]:
    """Return the mean of each cluster's points and their number.

    Args:
        points: `(B, N, C)`.
        labels: of the points, from 0 to `clusters` - 1, `(B, N)`.
        clusters: K.

    Returns:
        means: `(B, K, C)`; zero where there are no points.
        sizes: `(B, K)`.
    """
    members = F.one_hot(labels, clusters).to(points.dtype)
    sizes = members.sum(1)
    return members.transpose(1, 2) @ points / sizes.clamp_min(1)[..., None], sizes


def of_each(values: Tensor, labels: Tensor) -> Tensor:
    """Return each point's cluster's value: `(B, K, C)` by labels `(B, N)` to `(B, N, C)`."""
    return values.gather(1, labels[..., None].expand(-1, -1, values.shape[2]))
