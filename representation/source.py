"""From a target's frames to the batches that the methods start from."""

from collections import defaultdict
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from representation.flow_cache import FlowSource
from representation.method import Frames
from selfflow.frames import FrameBatches


@dataclass(frozen=True)
class FrameSource:
    """Whole frames, with their flow; batch `number` is a pure function of the number.

    Attributes:
        batches: says which pairs make a batch, and reads them.
        flow: gives their flow; None leaves it out.
    """

    batches: FrameBatches
    flow: FlowSource | None

    def __call__(self, number: int) -> Frames:
        """Return batch `number`; frames of several sizes are padded to the largest."""
        cache, addresses = self.batches.cache, self.batches.addresses(number)
        # All at once, several at a time; then they are in the cache.
        cache.frames([(pair.sequence, index) for pair in addresses for index in {*pair[1:]}])
        read = [cache.batch([pair], device=self.batches.device) for pair in addresses]
        first, second = [pair.image1 for pair in read], [pair.image2 for pair in read]
        forward = backward = None
        if self.flow is not None:
            flows = flow_of_each(self.flow, first, second)
            forward, backward = padded(flows).split(2, 1)
        sizes = torch.tensor([image.shape[-2:] for image in first])
        keys = self.batches.keys(number)
        return Frames(padded(first), padded(second), keys, sizes, forward, backward)


def flow_of_each(source: FlowSource, first: list[Tensor], second: list[Tensor]) -> list[Tensor]:
    """Return forward and backward flow, `(1, 4, H, W)`, of each pair of frames `(1, 3, H, W)`.

    Pairs of the same size are computed together.
    """
    groups = defaultdict(list)
    for index, image in enumerate(first):
        groups[image.shape].append(index)
    flows: dict[int, Tensor] = {}
    for members in groups.values():
        both = source(
            torch.cat([first[i] for i in members]), torch.cat([second[i] for i in members])
        )
        flows |= dict(zip(members, torch.cat(both, 1).split(1), strict=True))
    return [flows[index] for index in range(len(first))]


def padded(values: list[Tensor]) -> Tensor:
    """Return `(1, C, H, W)` of several sizes as one batch, zero at the right and the bottom."""
    height = max(value.shape[-2] for value in values)
    width = max(value.shape[-1] for value in values)
    return torch.cat([F.pad(v, (0, width - v.shape[-1], 0, height - v.shape[-2])) for v in values])
