"""The census penalty: how differently two images are ordered around each pixel.

The soft census transform of grey values in [0, 255], t = d / sqrt(0.81 + d²) for the difference d
to each neighbour in a patch; a soft Hamming distance h = Σ Δt² / (0.1 + Δt²); and the penalty
(h + 0.01)^0.4 (SMURF, Stone et al., CVPR 2021; the patch is 7x7, images are zero outside).

A loss in which one image stays and the other is warped again in every iteration of a network spends
most of its time here, so the fixed image is transformed once (`Census`), a pair of pixels is looked
at once for both of its ends, and the gradient is written out: six times fewer passes over memory
than autograd makes, and nothing kept but the slopes. Padded images are read as one long row: what
runs over an end of a line stays in the padding, which nobody reads.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

# Luma of ITU-R BT.601, as in torchvision's and TensorFlow's conversion to grey.
LUMA = (0.299, 0.587, 0.114)
PATCH = 7
SOFTNESS = 0.81  # of the transform, squared grey values
HALF = 0.1  # squared change that counts half of a full one


def grey(images: Tensor) -> Tensor:
    """Return the luma of `images` `(B, 3, H, W)`, `(B, 1, H, W)` in [0, 1]."""
    return (images * images.new_tensor(LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)


def census(image1: Tensor, image2: Tensor, patch: int = PATCH) -> Tensor:
    """Return the penalty for each pixel of two images `(B, 3, H, W)`, `(B, 1, H, W)`.

    Near the border patches reach into the zeros outside: use `inner(mask, patch // 2)`, as SMURF
    does.
    """
    return Census.of(grey(image1), patch).penalty(grey(image2))


@dataclass(frozen=True)
class Census:
    """An image's census transform, ready to be compared with others.

    Attributes:
        row: the grey values, padded, as one row `(N,)`.
        transform: for each step to half of a patch's neighbours (the others are their opposites),
            the soft signs of the differences, `(N - step,)`.
        shape: of the padded image.
        patch: its side in pixels, odd.
    """

    row: Tensor
    transform: list[Tensor]
    shape: torch.Size
    patch: int

    @classmethod
    def of(cls, grey_values: Tensor, patch: int = PATCH) -> "Census":
        """Transform grey values `(B, 1, H, W)` in [0, 1]."""
        padded = _padded(grey_values, patch // 2)
        row = padded.flatten()
        transform = [
            _soft_sign(row.detach()[step:] - row.detach()[:-step])[0]
            for step in _steps(padded.shape[-1], patch // 2)
        ]
        return cls(row, transform, padded.shape, patch)

    def penalty(self, grey_values: Tensor) -> Tensor:
        """Return the penalty for other grey values `(B, 1, H, W)` in [0, 1], likewise."""
        reach = self.patch // 2
        padded = _padded(grey_values, reach)
        if padded.shape != self.shape:
            raise ValueError(f"sizes differ: {tuple(padded.shape)} and {tuple(self.shape)}")
        steps = _steps(padded.shape[-1], reach)
        hamming = _Hamming.apply(padded.flatten(), self.row, self.transform, steps)
        hamming = hamming.view(padded.shape)[..., reach:-reach, reach:-reach]
        return _Penalty.apply(hamming)


def _padded(grey_values: Tensor, reach: int) -> Tensor:
    return F.pad(grey_values * 255, (reach,) * 4)


def _steps(width: int, reach: int) -> list[int]:
    """Return the steps along the row to half of a patch's neighbours."""
    span = range(-reach, reach + 1)
    return [y * width + x for y in range(reach + 1) for x in span if y > 0 or x > 0]


def _soft_sign(difference: Tensor) -> tuple[Tensor, Tensor]:
    """Return d / sqrt(0.81 + d²) in place of d, and 1 / sqrt(0.81 + d²)."""
    inverse = (difference * difference).add_(SOFTNESS).rsqrt_()
    return difference.mul_(inverse), inverse


class _Hamming(torch.autograd.Function):
    """The soft Hamming distance of a row to one that is transformed already."""

    @staticmethod
    def forward(
        ctx: Any, row: Tensor, fixed: Tensor, transform: list[Tensor], steps: list[int]
    ) -> Tensor:
        total = torch.zeros_like(row)
        slopes: list[Tensor] = []
        for step, sign in zip(steps, transform, strict=True):
            change, inverse = _soft_sign(row[step:] - row[:-step])
            change -= sign
            square = change * change
            share = (square + HALF).reciprocal_()
            # A pair of pixels counts once for each of the two.
            total[:-step].addcmul_(square, share)
            total[step:].addcmul_(square, share)
            if ctx.needs_input_grad[0]:
                slopes.append((inverse * share).square_().mul_(inverse).mul_(change))
            if ctx.needs_input_grad[1]:
                # Of the fixed row's sign t by its difference: (1 - t²)^1.5 / 0.9.
                slope = (1 - sign * sign).clamp_(min=0).pow_(1.5).mul_(SOFTNESS**-1.5)
                slopes.append(slope.mul_(share.square_()).mul_(change))
        ctx.steps = steps
        ctx.save_for_backward(*slopes)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        wanted = [number for number in (0, 1) if ctx.needs_input_grad[number]]
        gradient = gradient * (2 * HALF * SOFTNESS)
        results: list[Tensor | None] = [None, None]
        for place, number in enumerate(wanted):
            result = torch.zeros_like(gradient)
            slopes = ctx.saved_tensors[place :: len(wanted)]
            for step, slope in zip(ctx.steps, slopes, strict=True):
                pull = (gradient[:-step] + gradient[step:]).mul_(slope)
                result[step:] += pull
                result[:-step] -= pull
            # The fixed row's signs are subtracted.
            results[number] = result.neg_() if number else result
        return *results, None, None


class _Penalty(torch.autograd.Function):
    """(h + 0.01)^0.4, whose gradient needs no second power."""

    @staticmethod
    def forward(ctx: Any, hamming: Tensor) -> Tensor:
        distance = hamming + 0.01
        penalty = distance**0.4
        ctx.save_for_backward(distance, penalty)
        return penalty

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        distance, penalty = ctx.saved_tensors
        return (gradient * penalty).div_(distance).mul_(0.4)
