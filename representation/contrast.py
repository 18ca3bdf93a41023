"""Contrastive losses: which of many vectors belongs to this one?"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from selfflow.runs.distributed import gather, rank


class Contrast(NamedTuple):
    """How well each query finds its positive among the negatives.

    Attributes:
        loss: `(N,)`.
        first: whether the positive is nearer than every negative, `(N,)` bool. Its mean, the
            accuracy, tells the state of a training whose loss rises while a queue fills.
    """

    loss: Tensor
    first: Tensor


def info_nce(
    queries: Tensor,
    positives: Tensor,
    negatives: Tensor | None,
    temperature: float,
    images: Tensor | None = None,
) -> Contrast:
    """Return -log exp(q·p / t) / (exp(q·p / t) + Σₙ exp(q·n / t)) of each query, `(N,)`.

    Of unit vectors: all are normalised here. In float32 also under autocast. No gradient is
    stopped; the caller detaches what does not learn.

    van den Oord, Li and Vinyals 2018; MoCo's equation 1.

    Args:
        queries: `(N, C)`.
        positives: one for each query, `(N, C)`.
        negatives: the same ones for all queries, `(K, C)`. None: the other queries' positives.
        temperature: t.
        images: with it, the number of each query's image, `(N,)`, the positives of other images
            are negatives beside those given, those of other processes included.
    """
    with torch.autocast(queries.device.type, enabled=False):
        queries, positives = _unit(queries), _unit(positives)
        if negatives is None:
            logits = queries @ positives.T
            correct = torch.arange(len(queries), device=queries.device)
        else:
            own = (queries * positives).sum(1, keepdim=True)
            logits = torch.cat((own, queries @ _unit(negatives).T), 1)
            if images is not None:
                logits = torch.cat((logits, _to_other_images(queries, positives, images)), 1)
            correct = torch.zeros(len(queries), dtype=torch.long, device=queries.device)
        return _classify(logits / temperature, correct)


def nt_xent(first: Tensor, second: Tensor, temperature: float) -> Contrast:
    """Return SimCLR's loss of each vector (equation 1), `(2N,)`: those of `first`, then `second`.

    The positive of a vector is the other view's, its negatives are both views of all other images,
    in all processes, whose vectors get gradients from here too. Averaged over the processes it is
    the loss of one process with the whole batch.

    Args:
        first: view 1 of N images, `(N, C)`, of any length.
        second: view 2 of the same, likewise.
        temperature: t.
    """
    with torch.autocast(first.device.type, enabled=False):
        own = torch.cat((_unit(first), _unit(second)))
        everyone = gather(own[None])  # (processes, 2N, C)
        count, offset = len(own), rank() * len(own)
        logits = own @ everyone.flatten(0, 1).T / temperature
        place = torch.arange(count, device=own.device)
        itself = torch.zeros_like(logits, dtype=torch.bool)
        itself[place, offset + place] = True
        partner = offset + (place + count // 2) % count
        logits = logits.masked_fill(itself, -torch.inf)
        return _classify(logits, partner)


def _to_other_images(queries: Tensor, positives: Tensor, images: Tensor) -> Tensor:
    """Return the products with all processes' positives, -inf within an image, `(N, W·N)`."""
    keys = gather(positives[None])  # (processes, N, C)
    same = torch.zeros(len(queries), *keys.shape[:2], dtype=torch.bool, device=queries.device)
    same[:, rank()] = images[:, None] == images
    return (queries @ keys.flatten(0, 1).T).masked_fill(same.flatten(1), -torch.inf)


def _classify(logits: Tensor, correct: Tensor) -> Contrast:
    """Return the loss of logits `(N, M)`, and where the correct one is alone the highest."""
    own = logits.detach().gather(1, correct[:, None])
    first = (logits.detach() >= own).sum(1) == 1
    return Contrast(F.cross_entropy(logits, correct, reduction="none"), first)


def _unit(vectors: Tensor) -> Tensor:
    """Return vectors `(N, C)` at unit length, at least in float32."""
    wide = torch.promote_types(vectors.dtype, torch.float32)
    return F.normalize(vectors.to(wide), dim=1)
