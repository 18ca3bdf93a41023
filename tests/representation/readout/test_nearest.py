import math

import torch

from representation.readout import nearest
from representation.readout.nearest import nearest_neighbours


def slow_votes(queries, keys, labels, count, temperature, classes):
    """Return each class's share of the votes, by loops."""
    shares = []
    for query in queries.tolist():
        near = []
        for key, label in zip(keys.tolist(), labels.tolist(), strict=True):
            dot = sum(a * b for a, b in zip(query, key, strict=True))
            near.append((dot / math.hypot(*query) / math.hypot(*key), label))
        near.sort(reverse=True)
        votes = [0.0] * classes
        for similarity, label in near[:count]:
            votes[label] += math.exp(similarity / temperature)
        shares.append([vote / sum(votes) for vote in votes])
    return torch.tensor(shares, dtype=torch.float64)


def test_votes_equal_loops(monkeypatch):
    monkeypatch.setattr(nearest, "AT_A_TIME", 3)
    generator = torch.Generator().manual_seed(0)
    queries = torch.randn(7, 5, generator=generator, dtype=torch.float64)
    keys = torch.randn(30, 5, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 4, (30,), generator=generator)
    for count in (1, 6, 100):
        found = nearest_neighbours(queries, keys, labels, count=count, temperature=0.07, classes=4)
        expected = slow_votes(queries, keys, labels, min(count, 30), 0.07, 4)
        assert torch.allclose(found / found.sum(1, keepdim=True), expected, atol=1e-12)


def test_a_low_temperature_overflows_nothing():
    keys = torch.eye(3)
    found = nearest_neighbours(
        keys, keys, torch.tensor([2, 0, 1]), count=3, temperature=1e-4, classes=3
    )
    assert found.isfinite().all()
    assert found.argmax(1).tolist() == [2, 0, 1]
