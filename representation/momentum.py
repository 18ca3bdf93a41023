"""The target network: a slow average of the online one."""

import copy
import math
from typing import TypeVar

import torch
from torch import nn

ModuleT = TypeVar("ModuleT", bound=nn.Module)


def momentum_at(step: int, steps: int, start: float) -> float:
    """Return the momentum of the update after `step` (0-based) of `steps`: `start`, rising to 1.

    1 - (1 - start) · (cos(pi · step / steps) + 1) / 2 (BYOL, Grill et al. 2020, section 3.3).
    """
    progress = min(step / steps, 1.0)
    return 1 - (1 - start) * (math.cos(math.pi * progress) + 1) / 2


def target_of(online: ModuleT) -> ModuleT:
    """Return a copy of a network that receives no gradient."""
    return copy.deepcopy(online).requires_grad_(False)


@torch.no_grad()
def follow(target: nn.Module, online: nn.Module, momentum: float) -> None:
    """Move the target's parameters: target = momentum · target + (1 - momentum) · online.

    Parameters only: the statistics of batch normalisation are the target's own, from its own
    passes in training mode (as in BYOL's code).
    """
    slow, fast = list(target.parameters()), list(online.parameters())
    torch._foreach_lerp_(slow, fast, 1 - momentum)
