"""MoCo's queue: vectors of the latest batches, which serve as negatives."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfflow.random import key, normal, purpose
from selfflow.runs.distributed import gather


class Queue(nn.Module):
    """The latest `length` vectors of unit length, in a ring.

    It starts with random ones. Vectors and place are buffers: checkpoints hold them, and a step
    that went wrong is taken back. All processes hold the same.

    Args:
        length: vectors.
        channels: of each.
        seed: of the first ones.

    Attributes:
        vectors: `(length, channels)`.
        place: where the next one goes, a scalar.
    """

    vectors: Tensor
    place: Tensor

    def __init__(self, length: int, channels: int, seed: int) -> None:
        super().__init__()
        drawn = normal(purpose(key(seed, torch.arange(length)), "queue"), channels)
        self.register_buffer("vectors", F.normalize(drawn, dim=1))
        self.register_buffer("place", torch.zeros((), dtype=torch.long))

    def negatives(self) -> Tensor:
        """Return a copy of the vectors, so that a `push` before the backward pass is harmless."""
        return self.vectors.clone()

    @torch.no_grad()
    def push(self, vectors: Tensor) -> None:
        """Replace the oldest vectors by those given in all processes, `(N, channels)` in each.

        They are normalised here. Of more than fit the last ones stay. To be called after the
        negatives have been taken, so that no vector is contrasted with itself.
        """
        new = gather(F.normalize(vectors.detach().to(self.vectors.dtype), dim=1))
        length = len(self.vectors)
        places = (self.place + torch.arange(len(new), device=new.device)) % length
        self.vectors.index_copy_(0, places[-length:], new[-length:])
        self.place.add_(len(new)).remainder_(length)
