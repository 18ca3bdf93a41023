"""The target network: a slow average of the online one.

The momentum's schedule is `selfflow.runs.schedule.cosine` from its start to 1.
"""

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn

ModuleT = TypeVar("ModuleT", bound=nn.Module)


def target_of(online: ModuleT) -> ModuleT:
    """Return a copy of a network that receives no gradient."""
    return copy.deepcopy(online).requires_grad_(False)


@torch.no_grad()
def follow(target: nn.Module, online: nn.Module, momentum: float) -> None:
    """Move the target's parameters: target = momentum · target + (1 - momentum) · online.

    Parameters only: the statistics of batch normalisation are the target's own, from its own
    passes in training mode (as in BYOL's code).
    """
    slow: list[Tensor] = list(target.parameters())
    fast: list[Tensor] = list(online.parameters())
    torch._foreach_lerp_(slow, fast, 1 - momentum)
