"""Propagated labels against a loop over all queries and keys, in float64."""

import math

import pytest
import torch
from torch import Tensor

from representation.readout.propagation.neighbours import Known, Matching, propagated

HEIGHT, WIDTH, CHANNELS, CLASSES = 7, 9, 5, 3


def frame(seed: int, *, windowed: bool = True) -> Known:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(HEIGHT, WIDTH, CHANNELS, generator=generator, dtype=torch.float64)
    labels = torch.rand(HEIGHT, WIDTH, CLASSES, generator=generator, dtype=torch.float64)
    return Known(features, labels, windowed)


def in_window(matching: Matching, dy: int, dx: int) -> bool:
    if matching.radius is None:
        return True
    if matching.window == "square":
        return abs(dy) <= matching.radius and abs(dx) <= matching.radius
    return math.sqrt(dy * dy + dx * dx) < matching.radius


def candidates(
    query: Tensor, y: int, x: int, known: Known, matching: Matching
) -> list[tuple[float, Tensor]]:
    found = []
    for v in range(HEIGHT):
        for u in range(WIDTH):
            if not known.windowed or in_window(matching, v - y, u - x):
                affinity = float(query @ known.features[v, u]) / matching.temperature
                found.append((affinity, known.labels[v, u]))
    return found


def slow(features: Tensor, context: list[Known], matching: Matching) -> Tensor:
    result = torch.zeros(HEIGHT, WIDTH, CLASSES, dtype=torch.float64)
    for y in range(HEIGHT):
        for x in range(WIDTH):
            frames = [candidates(features[y, x], y, x, known, matching) for known in context]
            if matching.selection == "together":
                best = sorted((pair for each in frames for pair in each), key=lambda pair: -pair[0])
                best = best[: matching.count]
                total = sum(math.exp(affinity) for affinity, _ in best)
                for affinity, label in best:
                    result[y, x] += math.exp(affinity) / total * label
            else:
                for each in frames:
                    total = sum(math.exp(affinity) for affinity, _ in each)
                    best = sorted(each, key=lambda pair: -pair[0])[: matching.count]
                    for affinity, label in best:
                        result[y, x] += math.exp(affinity) / total * label / len(frames)
    return result


MATCHINGS = (
    Matching(4, 0.7, radius=3.0, window="circle"),
    Matching(4, 0.7, radius=2.0, window="square"),
    Matching(3, 0.7, "each", radius=2.5, window="square"),
    Matching(5, 0.7, radius=None),
    Matching(3, 0.7, "each"),
    Matching(1000, 0.7, radius=1.5, window="circle"),  # more than there are: a full softmax
)


@pytest.mark.parametrize("matching", MATCHINGS)
def test_labels_equal_a_loop_over_queries_and_keys(matching: Matching) -> None:
    context = [frame(1, windowed=False), frame(2), frame(3)]
    features = frame(0).features
    found = propagated(features, context, matching, tile=4)
    torch.testing.assert_close(found, slow(features, context, matching), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("matching", MATCHINGS)
def test_tiles_change_nothing(matching: Matching) -> None:
    context = [frame(1, windowed=False), frame(2), frame(2)]
    features = frame(0).features
    whole = propagated(features, context, matching, tile=100)
    for tile in (1, 2, 5):
        torch.testing.assert_close(propagated(features, context, matching, tile=tile), whole)


def test_a_frame_that_is_there_twice_counts_twice() -> None:
    once, other = frame(1), frame(2)
    matching = Matching(10**6, 0.5)
    twice = propagated(frame(0).features, [once, once, other], matching, tile=8)
    single = propagated(frame(0).features, [once, other], matching, tile=8)
    alone = propagated(frame(0).features, [once], matching, tile=8)
    assert not torch.allclose(twice, single)
    # It moves towards what that frame alone would say.
    assert ((twice - alone).abs() < (single - alone).abs()).all()


def test_only_cells_near_a_tile_are_looked_at() -> None:
    """What lies outside all windows may be anything, even NaN."""
    known = frame(1)
    known.features[5:], known.labels[5:] = torch.nan, torch.nan
    matching = Matching(3, 0.5, radius=2.0, window="square")
    found = propagated(frame(0).features[:], [known], matching, tile=1)
    assert found[:3].isfinite().all()
    assert found[4:].isnan().any()
