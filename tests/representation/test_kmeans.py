import itertools

import pytest
import torch
from torch import Tensor

from representation.kmeans import Metric, cluster_means, kmeans, nearest, of_each

METRICS: tuple[Metric, ...] = ("cosine", "euclidean")


def points(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def blobs(seed: int) -> tuple[Tensor, Tensor]:
    """Three far-apart groups of points, in random order, and which is whose."""
    corners = torch.tensor([(10.0, 0.0, 0.0), (0.0, 10.0, 0.0), (0.0, 0.0, 10.0)]).double()
    owner = torch.randint(3, (40,), generator=torch.Generator().manual_seed(seed))
    owner[:3] = torch.arange(3)
    return corners[owner] + 0.5 * points(40, 3, seed=seed), owner


@pytest.mark.parametrize("metric", METRICS)
def test_separable_points_are_separated(metric: Metric):
    drawn = [blobs(seed) for seed in range(6)]
    found = kmeans(torch.stack([each for each, _ in drawn]), 3, metric=metric)
    for labels, centroids, (own, owner) in zip(found.labels, found.centroids, drawn, strict=True):
        together = labels[:, None] == labels
        assert torch.equal(together, owner[:, None] == owner)
        if metric == "euclidean":
            for label, centroid in enumerate(centroids):
                torch.testing.assert_close(centroid, own[labels == label].mean(0))


def slow_kmeans(points: Tensor, clusters: int, metric: Metric) -> tuple[list[int], Tensor]:
    """One image, one point at a time, until nothing changes."""

    def unit(vector: Tensor) -> Tensor:
        return vector / vector.norm()

    own = [unit(point) if metric == "cosine" else point for point in points]
    mean = torch.stack(own).mean(0)
    centres = [max(own, key=lambda point: float((point - mean).norm()))]
    while len(centres) < clusters:
        far = [min(float((point - centre).norm()) for centre in centres) for point in own]
        centres.append(own[far.index(max(far))])
    labels: list[int] = []
    while True:
        old, labels = labels, []
        for point in own:
            if metric == "cosine":
                gaps = [-float(point @ centre) for centre in centres]
            else:
                gaps = [float((point - centre).square().sum()) for centre in centres]
            labels.append(gaps.index(min(gaps)))
        if labels == old:
            return labels, torch.stack(centres)
        for number in range(clusters):
            members = [p for p, label in zip(own, labels, strict=True) if label == number]
            if members:
                centre = torch.stack(members).mean(0)
                centres[number] = unit(centre) if metric == "cosine" else centre


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("clusters", [1, 3, 5])
def test_clusters_are_those_of_a_loop(metric: Metric, clusters: int):
    batch = points(4, 30, 6) * torch.arange(1.0, 5.0)[:, None, None]
    found = kmeans(batch, clusters, metric=metric, iterations=50)
    for own, labels, centroids in zip(batch, found.labels, found.centroids, strict=True):
        expected, centres = slow_kmeans(own, clusters, metric)
        assert labels.tolist() == expected
        torch.testing.assert_close(centroids, centres)


def test_the_cosine_does_not_know_lengths():
    directions, lengths = points(2, 25, 4), points(2, 25, 1, seed=1).exp()
    found, stretched = (kmeans(each, 4) for each in (directions, directions * lengths))
    assert torch.equal(found.labels, stretched.labels)
    torch.testing.assert_close(found.centroids.norm(dim=2), torch.ones(2, 4).double())
    plain = kmeans(directions, 4, metric="euclidean")
    changed = kmeans(directions * lengths, 4, metric="euclidean")
    assert not torch.equal(plain.labels, changed.labels)


@pytest.mark.parametrize("metric", METRICS)
def test_neither_the_order_of_points_nor_the_batch_matters(metric: Metric):
    batch = points(5, 20, 3)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(0))
    found, shuffled = kmeans(batch, 3, metric=metric), kmeans(batch[:, order], 3, metric=metric)
    assert torch.equal(found.labels[:, order], shuffled.labels)
    for i in range(5):
        alone = kmeans(batch[i : i + 1], 3, metric=metric)
        assert torch.equal(alone.labels[0], found.labels[i])
        torch.testing.assert_close(alone.centroids[0], found.centroids[i])


def test_more_iterations_fit_no_worse():
    batch = points(8, 60, 5)

    def misfit(iterations: int) -> Tensor:
        found = kmeans(batch, 4, metric="euclidean", iterations=iterations)
        return (batch - of_each(found.centroids, found.labels)).square().sum((1, 2))

    fits = [misfit(n) for n in (0, 1, 3, 20)]
    assert all((later <= earlier).all() for earlier, later in itertools.pairwise(fits))
    assert (fits[-1] < fits[0]).all()


@pytest.mark.parametrize("metric", METRICS)
def test_clusters_without_points_stay_where_they_are(metric: Metric):
    same = torch.full((1, 6, 4), 0.5)  # of unit length
    found = kmeans(same, 3, metric=metric)
    assert len(found.labels.unique()) == 1
    torch.testing.assert_close(found.centroids, same[:, :3])


def test_long_vectors_far_from_the_origin_keep_their_small_distances():
    near = blobs(1)[0].float()[None]
    far = near + 3000.0
    expected = kmeans(near, 3, metric="euclidean").labels
    assert torch.equal(kmeans(far, 3, metric="euclidean").labels, expected)


@pytest.mark.parametrize("clusters", [0, 7])
def test_impossible_numbers_of_clusters_are_refused(clusters: int):
    with pytest.raises(ValueError, match="clusters"):
        kmeans(torch.zeros(2, 6, 3), clusters)


def test_means_and_assigned_values_are_those_of_loops():
    own, labels = points(2, 9, 4), torch.tensor([[0, 0, 3, 3, 3, 1, 1, 0, 1]] * 2)
    means, sizes = cluster_means(own, labels, 4)
    assert sizes.tolist() == [[3, 3, 0, 3]] * 2
    each = of_each(means, labels)
    for image in range(2):
        assert (means[image, 2] == 0).all()
        for cell in range(9):
            members = [own[image, n] for n in range(9) if labels[image, n] == labels[image, cell]]
            torch.testing.assert_close(each[image, cell], torch.stack(members).mean(0))


def test_the_nearest_is_the_nearest():
    own, others = points(2, 7, 3), points(2, 4, 3, seed=5)
    for image in range(2):
        for point, label in zip(own[image], nearest(own, others)[image], strict=True):
            gaps = [(point - other).norm() for other in others[image]]
            assert gaps[label] == min(gaps)
