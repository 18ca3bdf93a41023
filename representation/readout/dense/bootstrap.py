"""How sure a score is, by drawing the test images again and again."""

from collections.abc import Callable

import torch
from torch import Tensor

from selfflow.random import integers, key, purpose


def interval(
    tallies: Tensor,
    score: Callable[[Tensor], Tensor],
    samples: int,
    block: int = 1,
    seed: int = 0,
) -> tuple[float, float]:
    """Return the 2.5th and the 97.5th percentile of a score over bootstrap samples of the images.

    It tells how the score depends on which images are in the test set, nothing of training.

    Args:
        tallies: of each image, `(images, *tally)`; sums of which a score is made.
        score: of totals `(samples, *tally)`.
        samples: how many.
        block: neighbouring images that are drawn together, because frames of a video are alike.
        seed: of the draws.
    """
    blocks = torch.stack([each.sum(0) for each in tallies.double().split(block)])
    keys = purpose(key(seed, torch.arange(samples)), "bootstrap")
    draws = integers(keys, 0, len(blocks), len(blocks))
    counts = torch.zeros(samples, len(blocks), dtype=torch.float64)
    counts.scatter_add_(1, draws, torch.ones_like(counts))
    totals = (counts @ blocks.flatten(1)).unflatten(1, blocks.shape[1:])
    values = score(totals)
    low, high = values[~values.isnan()].quantile(torch.tensor([0.025, 0.975]).double())
    return float(low), float(high)
