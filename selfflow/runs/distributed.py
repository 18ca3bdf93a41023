"""One process or several: what the loop and masked means need to know, and nothing else.

Without a process group (torchrun starts one) everything here does nothing.
"""

from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor


def active() -> bool:
    """Return whether this process is one of a group."""
    return dist.is_available() and dist.is_initialized()


def rank() -> int:
    """Return this process's number; 0 writes files and talks."""
    return dist.get_rank() if active() else 0


def world_size() -> int:
    """Return how many processes work together."""
    return dist.get_world_size() if active() else 1


def all_reduce_sum(tensor: Tensor) -> Tensor:
    """Return the sum of `tensor` over all processes; gradients do not flow through it."""
    if not active():
        return tensor.detach()
    total = tensor.detach().clone()
    dist.all_reduce(total)
    return total


def average_gradients(parameters: Iterable[Tensor]) -> None:
    """Replace each gradient by its mean over all processes.

    One reduction of all gradients after the backward pass, in place of a wrapper around each
    network: tasks hold several networks, of which some have no gradient.
    """
    if not active():
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    if not gradients:
        return
    total = all_reduce_sum(torch.cat([g.flatten() for g in gradients])) / world_size()
    for gradient, mean in zip(gradients, total.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))
