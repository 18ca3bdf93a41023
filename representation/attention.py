"""Attention among the cells of a feature map, by their similarity (PixPro's; MultiSiam's)."""

import torch
import torch.nn.functional as F
from torch import Tensor


def squared_similarity(features: Tensor) -> Tensor:
    """Return max(cos, 0)² of all cells of a map `(B, C, h, w)` with all, `(B, h·w, h·w)`.

    MultiSiam's equation 9; PixPro's with γ = 2 (Xie et al., "Propagate Yourself", CVPR 2021). In at
    least float32, also under autocast.
    """
    with torch.autocast(features.device.type, enabled=False):
        wide = features.to(torch.promote_types(features.dtype, torch.float32))
        unit = F.normalize(wide.flatten(2), dim=1)
        return (unit.transpose(1, 2) @ unit).clamp_min(0).square()


def attend(features: Tensor, values: Tensor) -> Tensor:
    """Return in each cell the sum of all cells' `values`, weighted by their similarity to it.

    MultiSiam's equation 8. The weights are not normalised, as only the sum's direction matters.

    Args:
        features: that are compared, `(B, C, h, w)`.
        values: that are added up, `(B, D, h, w)`; so is the result.
    """
    weights = squared_similarity(features)
    with torch.autocast(features.device.type, enabled=False):
        total = values.flatten(2).to(weights.dtype) @ weights  # the weights are symmetric
    return total.view_as(values)
