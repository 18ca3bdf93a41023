"""Cycle attention: from a frame's cells to another frame's and back, by affinity.

CACL's cycle-attention head (Pang et al., "Unsupervised Representation for Semantic Segmentation by
Implicit Cycle-Attention Contrastive Learning", AAAI 2022), equations 5 and 6.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def affinity(first: Tensor, second: Tensor) -> Tensor:
    """Return the cosines between vectors `(B, N, C)` and `(B or 1, M, C)`, `(B, N, M)`.

    In at least float32, also under autocast.
    """
    wide = torch.promote_types(first.dtype, torch.float32)
    with torch.autocast(first.device.type, enabled=False):
        first, second = (F.normalize(vectors.to(wide), dim=2) for vectors in (first, second))
        return first @ second.transpose(1, 2)


def cycle(cells: Tensor, others: Tensor, negatives: Tensor | None, temperature: float) -> Tensor:
    """Return M, how probable it is to come back from a cell to each of its frame, `(B, N, N)`.

    M = softmax(⟨c, c₊⟩ / t) x softmax(⟨c₊, c⟩ / t), equation 5, of unit vectors, which they are
    made here. With negatives the second jump goes to them as well, {c₊} → {c} + {c₋}; what ends
    there is missing from M, whose rows then sum to less than 1. Under a temperature of 0.03 there
    may be probabilities too small for float32; they count as the smallest one and give no gradient.

    Args:
        cells: c, `(B, N, C)`.
        others: c₊, of another frame, `(B, N', C)`.
        negatives: c₋, the same ones for all, `(K, C)`.
        temperature: t.
    """
    logits = affinity(cells, others) / temperature
    total = logits.logsumexp(1)
    if negatives is not None:
        outside = affinity(others, negatives[None]) / temperature
        total = torch.logaddexp(total, outside.logsumexp(2))
    back = (logits - total[:, None]).exp().transpose(1, 2)
    with torch.autocast(cells.device.type, enabled=False):
        returns = logits.softmax(2) @ back
    return returns.clamp_min(torch.finfo(returns.dtype).tiny)


def cycle_loss(returns: Tensor, targets: Tensor | None = None) -> Tensor:
    """Return how far a cell's way back is from where it should end, `(B, N)`.

    Without targets it should end where it began: -log Mᵢᵢ, equation 6. With targets ("soft cycle")
    the divergence KL(target ‖ M). Negatives need no column, for their target is 0.

    Args:
        returns: M from `cycle`, `(B, N, N)`.
        targets: distributions over the columns, likewise.
    """
    if targets is None:
        return -returns.diagonal(dim1=1, dim2=2).log()
    return -(torch.special.entr(targets) + targets * returns.log()).sum(2)
