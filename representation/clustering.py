"""Clusters of an image's cells as what is to be predicted (MultiSiam, section 3.3)."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from representation.kmeans import Metric, cluster_means, kmeans, of_each
from selfflow.runs.errors import UserError

Clustering = Literal["centroids", "dense", "none"]


def check_clusters(clusters: int, cells: tuple[int, ...]) -> None:
    """Raise a UserError unless a map of cells (height, width) can be put into clusters."""
    if clusters > cells[0] * cells[1]:
        raise UserError(
            f"multisiam.clusters = {clusters} are more than the {cells[0]} x {cells[1]} cells of "
            "the views' features; larger views, or a smaller encoder.stride, have more"
        )


@torch.no_grad()
def cluster_targets(
    projections: Tensor, clusters: int, *, metric: Metric, clustering: Clustering
) -> Tensor:
    """Return what is predicted in each cell of the target's map, `(B, C, h, w)`.

    Unit vectors: the centroids of the cells' clusters, or, without clustering, the projections. The
    mean cosine to all cells of a cluster ("dense") is that to the mean of their unit vectors, if
    the mean keeps its length: that is returned then.

    Args:
        projections: `(B, C, h, w)`.
        clusters: of each map.
        metric: of K-means.
        clustering: which of the three.
    """
    wide = projections.to(torch.promote_types(projections.dtype, torch.float32))
    unit = F.normalize(wide, dim=1)
    if clustering == "none":
        return unit
    found = kmeans(wide.flatten(2).transpose(1, 2), clusters, metric=metric)
    values = F.normalize(found.centroids, dim=2)
    if clustering == "dense":
        values, _ = cluster_means(unit.flatten(2).transpose(1, 2), found.labels, clusters)
    return of_each(values, found.labels).transpose(1, 2).reshape(wide.shape)


def consistency(predictions: Tensor, targets: Tensor) -> Tensor:
    """Return the mean of 2 - 2 q̃ · t over all cells, a scalar (equations 10 and 15).

    Args:
        predictions: q, `(B, C, h, w)`, brought to unit length.
        targets: t, likewise, see `cluster_targets`.
    """
    unit = F.normalize(predictions.to(targets.dtype), dim=1)
    return (2 - 2 * (unit * targets).sum(1)).mean()
