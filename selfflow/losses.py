"""Losses of optical flow, with and without labels, as small functions of tensors.

The terms without labels are SMURF's (Stone et al., CVPR 2021), which took census and smoothness
from UFlow (Jonschkowski et al., ECCV 2020). Losses come back as one value a pixel or a pair; the
caller reduces them, with `masked_mean` or `masked_mean_each`.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from selfflow.flow import round_trip_error, stays_inside
from selfflow.runs.distributed import all_reduce_sum, world_size

# Luma of ITU-R BT.601, as in torchvision's and TensorFlow's conversion to grey.
LUMA = (0.299, 0.587, 0.114)


def grey(images: Tensor) -> Tensor:
    """Return the luma of `images` `(B, 3, H, W)`, `(B, 1, H, W)` in [0, 1]."""
    return (images * images.new_tensor(LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)


# --- means --------------------------------------------------------------------------------------


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of `values` weighted by `mask`, a scalar; 0 where the mask is empty.

    `mask` is bool or a weight, and is broadcast. No gradient passes through it. With several
    processes it is the mean over all of them, the same number in each; its gradient is scaled so
    that its average over the processes (see `selfflow.runs.distributed`) is that mean's gradient.
    """
    weight = mask.detach().to(values.dtype).expand_as(values)
    numerator, denominator = (values * weight).sum(), weight.sum()
    if world_size() > 1:
        total, denominator = all_reduce_sum(torch.stack((numerator, denominator)))
        numerator = total + (numerator - numerator.detach()) * world_size()
    return numerator / denominator.clamp(min=1e-6)


def masked_mean_each(values: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of each sample's `values` `(B, C, H, W)` weighted by `mask`, `(B,)`."""
    weight = mask.detach().to(values.dtype).expand_as(values)
    total = (values * weight).sum((1, 2, 3))
    return total / weight.sum((1, 2, 3)).clamp(min=1e-6)


def inner(mask: Tensor, border: int) -> Tensor:
    """Return `mask` `(B, C, H, W)` with its outermost `border` pixels set to zero."""
    height, width = mask.shape[-2:]
    kept = mask[:, :, border : height - border, border : width - border]
    return F.pad(kept, (border,) * 4)


# --- without labels -----------------------------------------------------------------------------


def robust_l1(difference: Tensor, epsilon: float = 1e-3) -> Tensor:
    """Return sqrt(difference² + epsilon²), elementwise (Charbonnier)."""
    return (difference.square() + epsilon**2).sqrt()


def census(image1: Tensor, image2: Tensor, patch: int = 7) -> Tensor:
    """Return how differently two images are ordered around each pixel, `(B, 1, H, W)`.

    The soft census transform of grey values in [0, 255] over `patch` x `patch` pixels,
    t = d / sqrt(0.81 + d²) for the difference d to a neighbour; a soft Hamming distance
    h = Σ Δt² / (0.1 + Δt²); and the penalty (h + 0.01)^0.4. Outside, images are zero: use
    `inner(mask, patch // 2)`, as SMURF does.
    """
    reach = patch // 2
    height, width = image1.shape[-2:]
    grey1, grey2 = (F.pad(grey(image) * 255, (reach,) * 4) for image in (image1, image2))
    hamming = torch.zeros_like(image1[:, :1])
    for y, x in _half_plane(reach):
        distance = _soft_hamming(_ternary(grey1, y, x), _ternary(grey2, y, x))
        # A pair of pixels counts once for each of the two: at its first, and at its second.
        first = distance[..., reach : reach + height, :]
        second = distance[..., reach - y : reach - y + height, :]
        left = reach + min(x, 0)
        hamming = hamming + first[..., left : left + width]
        hamming = hamming + second[..., left - x : left - x + width]
    return (hamming + 0.01) ** 0.4


def _half_plane(reach: int) -> list[tuple[int, int]]:
    """Return the steps (y, x) to half of a patch's neighbours; the others are their opposites."""
    span = range(-reach, reach + 1)
    return [(y, x) for y in range(reach + 1) for x in span if y > 0 or x > 0]


def _ternary(grey: Tensor, y: int, x: int) -> Tensor:
    """Return the soft sign of the difference to the neighbour at (y, x), where there is one."""
    height, width = grey.shape[-2:]
    here = grey[..., : height - y, max(-x, 0) : width - max(x, 0)]
    there = grey[..., y:, max(x, 0) : width + min(x, 0)]
    difference = there - here
    return difference * (difference.square() + 0.81).rsqrt()


def _soft_hamming(ternary1: Tensor, ternary2: Tensor) -> Tensor:
    square = (ternary1 - ternary2).square()
    return square / (square + 0.1)


def smoothness(image: Tensor, flow: Tensor, order: int = 1, edge_weight: float = 150.0) -> Tensor:
    """Return the edge-aware smoothness penalty of each pair's flow, `(B,)`.

    The mean over x and y of robust_l1(∂ᵏ flow) · exp(-mean_c |edge_weight · ∂ image|), for k the
    `order`, 1 or 2. Differences are between neighbours; for the second order, the image's is
    between pixels two apart, the ends of the flow's second difference.
    """
    if order not in (1, 2):
        raise ValueError(f"the order of smoothness must be 1 or 2, got {order}")
    penalties = []
    for axis in (2, 3):
        bend = flow.diff(n=order, dim=axis)
        length = image.shape[axis]
        edge = image.narrow(axis, order, length - order) - image.narrow(axis, 0, length - order)
        weight = torch.exp(-(edge_weight * edge).abs().mean(1, keepdim=True))
        penalties.append((weight * robust_l1(bend)).mean((1, 2, 3)))
    return (penalties[0] + penalties[1]) / 2


def confidence(forward: Tensor, backward: Tensor, sigma: float) -> Tensor:
    """Return how far forward and backward flow agree, `(B, 1, H, W)` in [0, 1].

    exp(-|f + b'|² / (sigma² (H² + W²))) where the flow stays inside the frame, 0 elsewhere.
    """
    height, width = forward.shape[-2:]
    error, _ = round_trip_error(forward, backward)
    agreement = torch.exp(-error / (sigma**2 * (height**2 + width**2)))
    return agreement * stays_inside(forward)


def distillation(teacher: Tensor, student: Tensor, mask: Tensor) -> Tensor:
    """Return the robust L1 distance of `student` to `teacher`, weighted, `(B, 1, H, W)`.

    Args:
        teacher: flow to be learned from, `(B, 2, H, W)`; no gradient passes into it.
        student: flow that learns, likewise.
        mask: where to learn, `(B, 1, H, W)`: SMURF's is the teacher's confidence times what the
            student's lacks. The caller takes the mean over all pixels, not over the mask.
    """
    distance = robust_l1(teacher.detach() - student).mean(1, keepdim=True)
    return mask.detach().to(distance.dtype) * distance


# --- with labels --------------------------------------------------------------------------------


def sequence_loss(
    predictions: Sequence[Tensor],
    flow: Tensor,
    valid: Tensor,
    *,
    gamma: float = 0.8,
    max_flow: float = 400.0,
    robust: bool = False,
) -> Tensor:
    """Return RAFT's loss over all iterations' predictions, a scalar.

    Σᵢ gamma^(N-1-i) · mean |predictionᵢ - flow| over both components of valid pixels with
    |flow| < `max_flow`. `robust` replaces the distance d by (d + 0.01)^0.4 (PWC-Net's).

    RAFT and torchvision divide by all pixels; here the mean is over valid ones, so that sparse
    labels weigh as much as dense ones and several processes agree on it (see `masked_mean`).
    """
    counted = valid & (flow.square().sum(1, keepdim=True) < max_flow**2)
    flow = torch.where(counted, flow, 0)
    loss = flow.new_zeros(())
    for i, prediction in enumerate(predictions):
        distance = (prediction - flow).abs()
        if robust:
            distance = (distance + 0.01) ** 0.4
        loss = loss + gamma ** (len(predictions) - 1 - i) * masked_mean(distance, counted)
    return loss
