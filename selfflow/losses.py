"""Losses of optical flow, with and without labels, as small functions of tensors.

The terms without labels are SMURF's (Stone et al., CVPR 2021), which took census
(`selfflow.census`) and smoothness from UFlow (Jonschkowski et al., ECCV 2020). Losses come back as
one value a pixel or a pair; the caller reduces them, with `masked_mean` or
`masked_mean_each`.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from selfflow.flow import round_trip_error, stays_inside
from selfflow.runs.distributed import all_reduce_sum, world_size

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


def smoothness(image: Tensor, flow: Tensor, order: int = 1, edge_weight: float = 150.0) -> Tensor:
    """Return the edge-aware smoothness penalty of each pair's flow, `(B,)`.

    The mean over x and y of robust_l1(∂ᵏ flow) · exp(-mean_c |edge_weight · ∂ image|), for k the
    `order`, 1 or 2. Differences are between neighbours; for the second order, the image's is
    between pixels two apart, the ends of the flow's second difference.
    """
    return smoothness_within(edge_weights(image, order, edge_weight), flow)


def edge_weights(
    image: Tensor, order: int = 1, edge_weight: float = 150.0
) -> tuple[Tensor, Tensor]:
    """Return how little an image's edges let flow bend, along y and along x, in (0, 1].

    `(B, 1, H - order, W)` and `(B, 1, H, W - order)`; see `smoothness`.
    """
    if order not in (1, 2):
        raise ValueError(f"the order of smoothness must be 1 or 2, got {order}")

    def along(axis: int) -> Tensor:
        length = image.shape[axis] - order
        edge = image.narrow(axis, order, length) - image.narrow(axis, 0, length)
        return torch.exp(-(edge_weight * edge).abs().mean(1, keepdim=True))

    return along(2), along(3)


def smoothness_within(weights: tuple[Tensor, Tensor], flow: Tensor) -> Tensor:
    """Return the smoothness penalty of flow `(B, 2, H, W)` for an image's edge weights, `(B,)`."""
    order = flow.shape[2] - weights[0].shape[2]
    along_y, along_x = (
        (weight * robust_l1(flow.diff(n=order, dim=axis))).mean((1, 2, 3))
        for axis, weight in zip((2, 3), weights, strict=True)
    )
    return (along_y + along_x) / 2


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
