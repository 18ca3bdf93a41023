"""MoCo's queue: vectors of the latest batches, which serve as negatives."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfflow.runs.distributed import gather


class Queue(nn.Module):
    """The latest `length` vectors of unit length, in a ring.

    It starts empty, where MoCo's code starts with random vectors. Those are far from all images, so
    that a network escapes them best by mapping every image to one vector. In a long training that
    is over soon; in one of some hundred steps it is not. Vectors, place and count are buffers:
    checkpoints hold them, and a step that went wrong is taken back. All processes hold the same.

    Args:
        length: vectors.
        channels: of each.

    Attributes:
        vectors: `(length, channels)`.
        place: where the next one goes, a scalar.
        held: how many there are so far, a scalar.
    """

    vectors: Tensor
    place: Tensor
    held: Tensor

    def __init__(self, length: int, channels: int) -> None:
        super().__init__()
        self.register_buffer("vectors", torch.zeros(length, channels))
        self.register_buffer("place", torch.zeros((), dtype=torch.long))
        self.register_buffer("held", torch.zeros((), dtype=torch.long))

    def negatives(self) -> Tensor:
        """Return a copy of the vectors that there are, `(held, channels)`.

        A copy, so that a `push` before the backward pass is harmless.
        """
        return self.vectors[: int(self.held)].clone()

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
        self.held.add_(len(new)).clamp_(max=length)
