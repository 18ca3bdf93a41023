"""Batch normalisation over several processes as over one, and over parts of one as over several.

Torch's `SyncBatchNorm` refuses tensors on the CPU; this one serves gloo and NCCL alike.
"""

from collections.abc import Callable
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from selfflow.random import bits
from selfflow.runs.distributed import gather, rank, world_size
from selfflow.runs.errors import UserError

ModuleT = TypeVar("ModuleT", bound=nn.Module)
NormT = TypeVar("NormT", bound=nn.BatchNorm2d)


class SyncBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation with the statistics of all processes' batches together.

    In training, and with several processes; otherwise torch's own. Outputs, gradients and running
    statistics equal those of one process with the whole batch. Each process is to have as many
    samples, of the same size.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `(B, C, H, W)`."""
        if not self.training or world_size() == 1:
            return super().forward(x)
        wide = x.to(_at_least_float32(x))
        variance, mean = torch.var_mean(wide, (0, 2, 3), correction=0)
        variances, means = gather(torch.stack((variance, mean))[None]).unbind(1)
        mean = means.mean(0)
        variance = variances.mean(0) + (means - mean).square().mean(0)
        count = world_size() * x[:, 0].numel()
        _follow(self, mean, variance * count / max(1, count - 1))
        scale = (variance + self.eps).rsqrt()
        shift = -mean * scale
        scale, shift = scale * self.weight, shift * self.weight + self.bias
        return (wide * scale[:, None, None] + shift[:, None, None]).to(x.dtype)


class SplitBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation with statistics of each of several parts of the batch by itself.

    What `parts` processes do that do not synchronise: with `shuffled` around the keys' network it
    stands for MoCo's shuffling BN also in a single process. Running statistics are the mean over
    this process's parts. A batch that cannot be divided evenly is a ValueError.
    """

    parts: int = 1

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `(B, C, H, W)`, the first B / parts samples together, then the next."""
        if not self.training or self.parts == 1:
            return super().forward(x)
        batch, channels = x.shape[:2]
        if batch % self.parts:
            raise ValueError(f"a batch of {batch} cannot be divided into {self.parts} parts")
        # A part's channels become channels of their own.
        side_by_side = x.view(self.parts, batch // self.parts, *x.shape[1:]).transpose(0, 1)
        side_by_side = side_by_side.reshape(batch // self.parts, -1, *x.shape[2:])
        mean, variance = x.new_zeros(2, self.parts * channels, dtype=_at_least_float32(x))
        weight, bias = self.weight.repeat(self.parts), self.bias.repeat(self.parts)
        # With a momentum of 1 the statistics of this batch replace the zeros.
        y = F.batch_norm(side_by_side, mean, variance, weight, bias, True, 1.0, self.eps)
        _follow(self, *(each.view(self.parts, -1).mean(0) for each in (mean, variance)))
        y = y.view(batch // self.parts, self.parts, channels, *x.shape[2:]).transpose(0, 1)
        return y.reshape(x.shape)


@torch.no_grad()
def _follow(norm: nn.BatchNorm2d, mean: Tensor, variance: Tensor) -> None:
    """Let running statistics follow those of a batch."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.num_batches_tracked is not None
    assert norm.momentum is not None
    norm.num_batches_tracked.add_(1)
    norm.running_mean.lerp_(mean, norm.momentum)
    norm.running_var.lerp_(variance, norm.momentum)


def _at_least_float32(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)


OURS = (SyncBatchNorm2d, SplitBatchNorm2d)


def synchronise(module: ModuleT) -> ModuleT:
    """Make all batch normalisation in a network `SyncBatchNorm2d`, in place; return the network.

    Weights and statistics stay. Split normalisation is left as it is.
    """
    for parent, name, old in _plain_norms(module):
        setattr(parent, name, _like(old, SyncBatchNorm2d))
    return module


def split(module: ModuleT, parts: int) -> ModuleT:
    """Make all batch normalisation in a network `SplitBatchNorm2d`, in place; return the network.

    `parts` are those of the batch of all processes; each process takes its share of them. A number
    that the processes cannot share evenly is a ValueError.
    """
    if parts % world_size():
        raise ValueError(f"{world_size()} processes cannot share {parts} parts of a batch")
    for parent, name, old in _plain_norms(module):
        new = _like(old, SplitBatchNorm2d)
        new.parts = parts // world_size()
        setattr(parent, name, new)
    return module


def _like(old: nn.BatchNorm2d, kind: type[NormT]) -> NormT:
    """Return a normalisation of another kind that shares the old one's weights and statistics."""
    new = kind(old.num_features, old.eps, old.momentum)
    new.weight, new.bias = old.weight, old.bias
    new.running_mean, new.running_var = old.running_mean, old.running_var
    new.num_batches_tracked = old.num_batches_tracked
    return new.train(old.training)


def _plain_norms(module: nn.Module) -> list[tuple[nn.Module, str, nn.BatchNorm2d]]:
    """Return all of torch's batch normalisation in a network: the parent, the name in it, itself.

    Raises:
        UserError: there is some of another kind, whose statistics nobody would put together.
    """
    found = []
    for parent in module.modules():
        for name, child in parent.named_children():
            if type(child) is nn.BatchNorm2d and child.affine and child.track_running_stats:
                found.append((parent, name, child))
            elif isinstance(child, _BatchNorm) and not isinstance(child, OURS):
                raise UserError(
                    f"batch normalisation of the kind {type(child).__name__} cannot be put "
                    "together over processes, nor split; take another architecture"
                )
    return found


@torch.no_grad()
def shuffled(network: Callable[[Tensor], Tensor], images: Tensor, key: Tensor) -> Tensor:
    """Return what a network makes of images `(B, ...)`, which it sees in another order.

    MoCo's shuffling BN (He et al. 2020, section 3.3): the order is drawn over the batch of all
    processes, and the outputs come back in the order of the images, those of each process to it. In
    a network whose normalisation knows a part of the batch alone (see `split`), a key then shares
    its statistics with other images than its query does. With synchronised normalisation, or one
    part, it changes nothing but the order of sums. Without gradient.

    Args:
        network: each output belongs to the image at its place.
        images: of this process; all have as many.
        key: of the order, a scalar, the same in all processes; see `selfflow.random`.
    """
    count, everyone = len(images), gather(images)
    order = bits(key, len(everyone)).argsort(stable=True).to(images.device)
    own = slice(rank() * count, (rank() + 1) * count)
    outputs = gather(network(everyone[order[own]]))
    return outputs[order.argsort()[own]]
