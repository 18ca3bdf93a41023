"""RAFT (Teed and Deng, ECCV 2020), large and small, for training and for video of any size.

Values equal torchvision's. What differs is how they are computed: forward and backward flow share
features and correlation, the context's share of the recurrent unit is computed once, flow is
upsampled only where it is needed, nothing is kept on the module between calls, and the correlation
volume is replaced by an equal lookup where it would not fit the memory.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfflow.correlation import LEVELS, SMALLEST_SIDE, correlate, volume_numbers
from selfflow.flow import check_images, pixel_grid
from selfflow.raft_blocks import (
    BottleneckBlock,
    Encoder,
    FlowHead,
    InstanceNorm,
    MaskPredictor,
    MotionEncoder,
    Norm,
    RecurrentBlock,
    ResidualBlock,
    UpdateBlock,
)

STRIDE = 8
VOLUME_BYTES = 3 * 2**29


@dataclass(frozen=True)
class Architecture:
    """The numbers in which RAFT large and small differ."""

    block: type[ResidualBlock] | type[BottleneckBlock]
    features: tuple[int, int, int, int, int]
    context: tuple[int, int, int, int, int]
    context_norm: Norm | None
    radius: int
    corr: tuple[int, ...]
    flow: tuple[int, int]
    motion: int
    hidden: int
    kernels: tuple[tuple[int, int], ...]
    head: int
    convex_upsampling: bool


LARGE = Architecture(
    block=ResidualBlock,
    features=(64, 64, 96, 128, 256),
    context=(64, 64, 96, 128, 256),
    context_norm=nn.BatchNorm2d,
    radius=4,
    corr=(256, 192),
    flow=(128, 64),
    motion=128,
    hidden=128,
    kernels=((1, 5), (5, 1)),
    head=256,
    convex_upsampling=True,
)
SMALL = Architecture(
    block=BottleneckBlock,
    features=(32, 32, 64, 96, 128),
    context=(32, 32, 64, 96, 160),
    context_norm=None,
    radius=3,
    corr=(96,),
    flow=(64, 32),
    motion=82,
    hidden=96,
    kernels=((3, 3),),
    head=128,
    convex_upsampling=False,
)
ARCHITECTURES = {
    "raft-small": SMALL,
    "raft-large": LARGE,
    # SMURF's: its training sees few images at a time, where batch statistics are poor.
    "raft-large-instance": replace(LARGE, context_norm=InstanceNorm),
}


class RAFT(nn.Module):
    """Recurrent all-pairs field transforms.

    Images are `(B, 3, H, W)` in [0, 1] of any size: they are padded by replication to multiples of
    8 and to at least 64 pixels, and the flow is cropped. (The deepest correlation level of an
    image below 128 pixels is a single cell, which torchvision cannot read.) Under autocast the
    convolutions run in the lower precision; positions, correlation and flow stay float32.

    Args:
        architecture: a name in `ARCHITECTURES`.
        volume_bytes: the largest correlation volume that is held in memory.
    """

    def __init__(self, architecture: str, *, volume_bytes: int = VOLUME_BYTES) -> None:
        super().__init__()
        self.architecture = architecture
        self.volume_bytes = volume_bytes
        parts = ARCHITECTURES[architecture]
        self.radius, self.hidden = parts.radius, parts.hidden
        self.feature_encoder = Encoder(parts.block, parts.features, InstanceNorm)
        self.context_encoder = Encoder(parts.block, parts.context, parts.context_norm)
        context = parts.context[-1] - parts.hidden
        self.update_block = UpdateBlock(
            MotionEncoder(
                LEVELS * (2 * parts.radius + 1) ** 2,
                corr=parts.corr,
                flow=parts.flow,
                outputs=parts.motion,
            ),
            RecurrentBlock(parts.hidden, context, parts.motion, parts.kernels),
            FlowHead(parts.hidden, parts.head),
        )
        self.mask_predictor = MaskPredictor(parts.hidden) if parts.convex_upsampling else None
        self.to(memory_format=torch.channels_last)

    def forward(
        self,
        image1: Tensor,
        image2: Tensor,
        iterations: int = 12,
        initial: Tensor | None = None,
    ) -> Tensor:
        """Return the flow from `image1` to `image2`, `(B, 2, H, W)` pixels.

        Refinement begins at `initial`, flow of the same size, or at zero flow without it.
        """
        return self._final(image1, image2, iterations, both=False, initial=initial)

    def bidirectional(
        self, image1: Tensor, image2: Tensor, iterations: int = 12
    ) -> tuple[Tensor, Tensor]:
        """Return forward and backward flow, `(B, 2, H, W)` pixels each."""
        forward, backward = self._final(image1, image2, iterations, both=True).chunk(2)
        return forward, backward

    def predictions(
        self,
        image1: Tensor,
        image2: Tensor,
        iterations: int = 12,
        bidirectional: bool = False,
        initial: Tensor | None = None,
    ) -> list[Tensor]:
        """Return the flow after each iteration, `(B, 2, H, W)` pixels each.

        With `bidirectional` each is `(2 B, 2, H, W)`: forward, then backward flow, and so is
        `initial`, where refinement begins. In training mode a batch norm then takes its statistics
        over both frames.
        """
        size = image1.shape[-2:]
        steps = self._refine(image1, image2, iterations, both=bidirectional, initial=initial)
        return [self._upsample(flow, hidden, size) for flow, hidden in steps]

    def holds_volume(self, pairs: int, height: int, width: int) -> bool:
        """Return whether the correlation of so many pairs, both ways, is held in memory."""
        left, right, top, bottom = padding(height, width)
        size = (height + top + bottom) // STRIDE, (width + left + right) // STRIDE
        return 4 * volume_numbers(pairs, *size, both=True) <= self.volume_bytes

    def _final(
        self,
        image1: Tensor,
        image2: Tensor,
        iterations: int,
        *,
        both: bool,
        initial: Tensor | None = None,
    ) -> Tensor:
        steps = self._refine(image1, image2, iterations, both=both, initial=initial)
        # A queue of one: what the earlier iterations left is freed on the way.
        flow, hidden = deque(steps, maxlen=1).pop()
        return self._upsample(flow, hidden, image1.shape[-2:])

    def _refine(
        self,
        image1: Tensor,
        image2: Tensor,
        iterations: int,
        *,
        both: bool,
        initial: Tensor | None = None,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the flow in feature pixels and the hidden state after each iteration."""
        if iterations < 1:
            raise ValueError(f"at least one iteration is needed, got {iterations}")
        images = _prepare(image1, image2)
        features = _exact(self.feature_encoder(images))
        context = self.context_encoder(images if both else images[: len(image1)])
        with torch.autocast(features.device.type, enabled=False):
            features1, features2 = features.chunk(2)
            directions = correlate(
                features1, features2, self.radius, volume_bytes=self.volume_bytes, both=both
            )
        hidden, context = context.split((self.hidden, context.shape[1] - self.hidden), 1)
        hidden, context = torch.tanh(hidden), torch.relu(context)
        gates = self.update_block.recurrent_block.gates(context)

        grid = pixel_grid(*features.shape[-2:], device=features.device, dtype=features.dtype)
        flow = torch.zeros_like(grid).repeat(len(hidden), 1, 1, 1)
        if initial is not None:
            if initial.shape != (len(flow), 2, *image1.shape[-2:]):
                raise ValueError(f"{tuple(initial.shape)} is no initial flow for these images")
            flow = _coarse(initial.to(flow))
        # In the memory order of the other inputs, else each concatenation with it reorders them.
        flow = flow.contiguous(memory_format=torch.channels_last)
        for _ in range(iterations):
            flow = flow.detach()
            with torch.autocast(features.device.type, enabled=False):
                positions = (grid + flow).chunk(len(directions))
                lookups = [d.lookup(p) for d, p in zip(directions, positions, strict=True)]
            directions = [following for _, following in lookups]
            correlation = torch.cat([values for values, _ in lookups])
            hidden, change = self.update_block(hidden, gates, correlation, flow)
            flow = flow + _exact(change)
            yield flow, hidden

    def _upsample(self, flow: Tensor, hidden: Tensor, size: torch.Size) -> Tensor:
        """Bring flow in feature pixels to full resolution and crop the padding away."""
        if self.mask_predictor is None:
            full = F.interpolate(
                STRIDE * flow.contiguous(), scale_factor=STRIDE, mode="bilinear", align_corners=True
            )
        else:
            weights = _exact(self.mask_predictor(hidden))
            with torch.autocast(flow.device.type, enabled=False):
                full = upsample_convex(flow, weights)
        height, width = size
        left, _, top, _ = padding(height, width)
        return full[..., top : top + height, left : left + width]


def padding(height: int, width: int) -> tuple[int, int, int, int]:
    """Return what is added at left, right, top and bottom of a frame, in pixels."""
    more_width, more_height = (
        max(-(-side // STRIDE) * STRIDE, SMALLEST_SIDE * STRIDE) - side for side in (width, height)
    )
    left, top = more_width // 2, more_height // 2
    return left, more_width - left, top, more_height - top


def upsample_convex(flow: Tensor, weights: Tensor) -> Tensor:
    """Upsample flow `(B, 2, h, w)` 8 times, to `(B, 2, 8 h, 8 w)` and 8 times longer vectors.

    Each pixel is a convex combination of 3x3 neighbours, with the softmax of `weights`
    `(B, 9 * 8 * 8, h, w)` (RAFT, section 3.3). Neighbours outside the frame are zero.
    """
    height, width = flow.shape[-2:]
    shares = weights.unflatten(1, (9, STRIDE, STRIDE)).softmax(1)
    neighbours = F.unfold(STRIDE * flow, 3, padding=1).unflatten(1, (2, 9))
    neighbours = neighbours.unflatten(-1, (height, width))
    full = torch.einsum("bkyxhw,bckhw->bchywx", shares, neighbours)
    return full.reshape(len(flow), 2, STRIDE * height, STRIDE * width)


def raft_small() -> RAFT:
    """Return RAFT small with random weights."""
    return RAFT("raft-small")


def raft_large(norm: Literal["batch", "instance"] = "batch") -> RAFT:
    """Return RAFT large with random weights; `norm` is the context encoder's."""
    return RAFT("raft-large" if norm == "batch" else "raft-large-instance")


def _exact(values: Tensor) -> Tensor:
    """Return `values` in float32, or in float64 if that is what they are in."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _coarse(flow: Tensor) -> Tensor:
    """Return flow `(B, 2, H, W)` in feature pixels, `(B, 2, H' / 8, W' / 8)`, means over cells."""
    padded = F.pad(flow, padding(*flow.shape[-2:]), mode="replicate")
    return F.avg_pool2d(padded, STRIDE) / STRIDE


def _prepare(image1: Tensor, image2: Tensor) -> Tensor:
    """Stack, pad and rescale both images to [-1, 1], `(2 B, 3, H', W')`."""
    check_images(image1, "image1")
    check_images(image2, "image2")
    if image1.shape != image2.shape:
        raise ValueError(f"sizes differ: {tuple(image1.shape)} and {tuple(image2.shape)}")
    both = 2 * _exact(torch.cat((image1, image2))) - 1
    padded = F.pad(both, padding(*image1.shape[-2:]), mode="replicate")
    return padded.contiguous(memory_format=torch.channels_last)
