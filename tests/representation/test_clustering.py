import pytest
import torch
from torch import Tensor

from representation.clustering import Clustering, check_clusters, cluster_targets, consistency
from representation.kmeans import Metric, kmeans
from selfflow.runs.errors import UserError


def maps(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(3, 5, 3, 4, generator=generator, dtype=torch.float64)


def cosine(one: Tensor, other: Tensor) -> Tensor:
    return one @ other / one.norm() / other.norm()


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("clustering", ["centroids", "dense", "none"])
def test_the_loss_is_the_papers_in_value_and_gradient(clustering: Clustering, metric: Metric):
    """Equations 10 and 15 as 2 - 2 cos; "dense" is the mean over the cells of the cluster."""
    predictions, projections = maps(0).requires_grad_(), maps(1) * 3
    labels = kmeans(projections.flatten(2).transpose(1, 2), 3, metric=metric).labels
    losses = []
    for b in range(3):
        cells = projections[b].flatten(1).T
        for i, predicted in enumerate(predictions[b].flatten(1).T):
            members = [cells[j] for j in range(12) if labels[b, j] == labels[b, i]]
            if clustering == "none":
                compared = [cells[i]]
            elif clustering == "dense":
                compared = members
            elif metric == "cosine":
                compared = [torch.stack([each / each.norm() for each in members]).mean(0)]
            else:
                compared = [torch.stack(members).mean(0)]
            each = [2 - 2 * cosine(predicted, other) for other in compared]
            losses.append(torch.stack(each).mean())
    expected = torch.stack(losses).mean()
    targets = cluster_targets(projections, 3, metric=metric, clustering=clustering)
    found = consistency(predictions, targets)
    torch.testing.assert_close(found, expected)
    (one,) = torch.autograd.grad(found, predictions)
    (two,) = torch.autograd.grad(expected, predictions)
    torch.testing.assert_close(one, two)


def test_no_gradient_reaches_the_targets():
    projections = maps(0).requires_grad_()
    assert not cluster_targets(
        projections, 3, metric="cosine", clustering="centroids"
    ).requires_grad


def test_there_are_as_many_targets_as_clusters():
    for clusters in (1, 2, 4):
        found = cluster_targets(maps(2), clusters, metric="cosine", clustering="centroids")
        for one in found:
            assert len(one.flatten(1).T.unique(dim=0)) == clusters


def test_more_clusters_than_cells_are_an_error():
    check_clusters(12, (3, 4))
    with pytest.raises(UserError, match="3 x 4 cells"):
        check_clusters(13, (3, 4))
