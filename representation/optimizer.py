"""What the optimiser trains, by which rule, and its learning rate as a function of the step."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from representation.lars import Lars
from representation.method import Method
from representation.settings import PretrainSettings
from selfflow.runs.distributed import world_size
from selfflow.runs.schedule import cosine


def parameter_groups(modules: Iterable[nn.Module], lr_scale: float = 1.0) -> list[dict[str, Any]]:
    """Return two parameter groups: weights (`adapt=True`), and biases and normalisation (False).

    In a ResNet and its heads the latter are all tensors of one dimension. LARS neither scales nor
    decays them, as in BYOL; AdamW does not decay them; SGD makes no difference, as in MoCo.

    Args:
        modules: what is trained; parameters that need no gradient are left out.
        lr_scale: the groups' learning rate as a multiple of the setting's.
    """
    parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim > 1], "adapt": True, "lr_scale": lr_scale},
        {"params": [p for p in parameters if p.ndim <= 1], "adapt": False, "lr_scale": lr_scale},
    ]


def new_optimizer(settings: PretrainSettings, method: Method) -> Optimizer:
    """Return the optimiser of what a method trains; the loop sets its learning rate."""
    own = settings.optimizer
    groups, rate = method.parameter_groups(), peak_rate(settings)
    if own.kind == "lars":
        return Lars(
            groups, rate, momentum=own.momentum, weight_decay=own.weight_decay, trust=own.trust
        )
    if own.kind == "sgd":
        return torch.optim.SGD(groups, rate, momentum=own.momentum, weight_decay=own.weight_decay)
    for group in groups:
        group["weight_decay"] = own.weight_decay if group["adapt"] else 0.0
    return torch.optim.AdamW(groups, rate, betas=(own.momentum, 0.999))


def effective_batch(settings: PretrainSettings) -> int:
    """Return how many pairs or images a step sees, in all processes together."""
    return settings.frames.batch_size * settings.loop.accumulate * world_size()


def peak_rate(settings: PretrainSettings) -> float:
    """Return the highest learning rate, scaled with the batch if a reference is given.

    The linear rule of Goyal et al., "Accurate, Large Minibatch SGD", 2017.
    """
    own = settings.optimizer
    if own.reference_batch is None:
        return own.learning_rate
    return own.learning_rate * effective_batch(settings) / own.reference_batch


def learning_rate(settings: PretrainSettings, step: int) -> float:
    """Return the learning rate of a step: a linear rise, then half a cosine to zero."""
    warmup = settings.optimizer.warmup
    return cosine(step, settings.loop.steps, peak_rate(settings), warmup=warmup)
