"""Errors of flow against a label, as sums from which every average is made.

Two averages are in use and differ by tens of per cent: over all pixels of a data set (pooled;
torchvision's, and RAFT's Fl on KITTI), and over images of each image's mean (RAFT's end-point
error on KITTI, SMURF). `Tally` gives both.
"""

from dataclasses import dataclass, field

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from selfflow.flow import stays_inside

MEASURES = ("epe", "fl_all", "1px", "3px", "5px", "angular", "wauc")
GROUPS = (
    "all",
    "s0-10",
    "s10-40",
    "s40+",
    "d0-10",
    "d10-60",
    "d60-140",
    "visible",
    "not visible",
    "foreground",
    "background",
)
THRESHOLDS = 100  # of the weighted area under the curve, spread over 0 to 5 px

DEFINITIONS = {
    "epe": "end-point error, the length of the difference vector, in pixels",
    "fl_all": "per cent of pixels with an error above 3 px and above 5 % of the true length",
    "1px, 3px, 5px": "per cent of pixels with an error below 1, 3 and 5 px; Spring's 1px is what "
    "is missing to 100",
    "angular": "angle between (u, v, 1) and the truth's, in degrees (Middlebury)",
    "wauc": "per cent of pixels with an error of at most t, for t = 0.05, 0.10, ... 5 px with "
    "weights that fall linearly from 1 to 0.01 (VIPER, Spring)",
    "s0-10, s10-40, s40+": "pixels whose true motion is below 10 px, from 10 to 40, from 40 on",
    "d0-10, d10-60, d60-140": "visible pixels that are nearer than 10 px to an occluded one, from "
    "10 to 60, from 60 to 140. Only like MPI-Sintel's columns of these names: those go by the "
    "nearest occlusion boundary, and how it is drawn is not published",
    "visible, not visible": "pixels of frame 1 that are seen in frame 2, and the others: Sintel's "
    "matched and unmatched, KITTI's noc and the rest of occ",
    "foreground, background": "pixels of things that move by themselves, and the others: Fl-fg "
    "and Fl-bg of KITTI 2015",
    "pooled": "mean over all pixels of all images",
    "per_image": "mean over images of each image's mean",
}


def endpoint_error(prediction: Tensor, flow: Tensor) -> Tensor:
    """Return |prediction - flow|, `(B, 1, H, W)` pixels."""
    return (prediction - flow).square().sum(1, keepdim=True).sqrt()


def outlier(error: Tensor, flow: Tensor) -> Tensor:
    """Return which errors `(B, 1, H, W)` exceed 3 px and 5 % of the true length (KITTI), bool.

    The product is compared, not the ratio, so that motion zero is no special case.
    """
    return (error > 3) & (error > 0.05 * flow.square().sum(1, keepdim=True).sqrt())


def angular_error(prediction: Tensor, flow: Tensor) -> Tensor:
    """Return the angle between (u, v, 1) of two flows, `(B, 1, H, W)` degrees.

    Barron et al. (IJCV 1994), as Middlebury reports it. By the arc tangent: the usual arc cosine
    loses small angles to rounding.
    """
    u, v = prediction.double().unbind(1)
    true_u, true_v = flow.double().unbind(1)
    across = torch.stack((v - true_v, true_u - u, u * true_v - v * true_u)).square().sum(0).sqrt()
    along = u * true_u + v * true_v + 1
    return torch.rad2deg(torch.atan2(across, along))[:, None]


def weighted_area(error: Tensor) -> Tensor:
    """Return each pixel's share in the weighted area under the curve, 0 to 100, like `error`.

    Richter et al. (ICCV 2017), reported by Spring: the share of errors of at most i / 20 px, for i
    from 1 to 100, averaged with weights 1 - (i - 1) / 100. A pixel with error e is counted in all
    terms from i = ⌈20 e⌉ on, which makes the measure a mean over pixels like the others.
    """
    weights = 1 - torch.arange(THRESHOLDS, device=error.device, dtype=torch.float64) / THRESHOLDS
    left = weights.flip(0).cumsum(0).flip(0) / weights.sum() * 100
    # float32 must not push an error of exactly i / 20 px over its threshold.
    first = torch.ceil(20 * error.double() - 1e-5).clamp(1, THRESHOLDS + 1)
    first = torch.where(error.isfinite(), first, THRESHOLDS + 1).long()
    return torch.cat((left, left.new_zeros(1)))[first - 1]


def occlusion_distance(flow: Tensor, visible: Tensor) -> Tensor:
    """Return each pixel's distance to the nearest occluded one, `(B, 1, H, W)` px, float64.

    Occluded is what is not visible although it stays inside the frame; where nothing is, the
    distance is infinite. `visible` must be known at every pixel.

    This stands in for MPI-Sintel's distance to the nearest occlusion boundary (Butler et al., ECCV
    2012), about which its authors say no more. Here it is the distance to what frame 2 hides: the
    other rim of a thing that moves, where something comes into sight, is not in frame 1's masks.
    That the groups made of it hold visible pixels alone is an assumption, too.
    """
    occluded = (~visible & stays_inside(flow)).cpu().numpy()
    distances = [
        distance_transform_edt(~mask) if mask.any() else np.full(mask.shape, np.inf)
        for mask in occluded[:, 0]
    ]
    return torch.from_numpy(np.stack(distances))[:, None].to(flow.device)


def sums(
    prediction: Tensor,
    flow: Tensor,
    valid: Tensor,
    visible: Tensor | None,
    foreground: Tensor | None = None,
    distance: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return each image's sums over pixels, `(B, G, M)`, and numbers of pixels, `(B, G)`.

    G counts `GROUPS`, M `MEASURES`, both float64 on the CPU. Without `visible`, `foreground` or
    `distance` (see `occlusion_distance`) the groups that need it are empty. Shares are in per cent.
    """
    flow = torch.where(valid, flow, 0)
    error = endpoint_error(prediction, flow)
    within = [error < limit for limit in (1, 3, 5)]
    shares = [100.0 * x for x in (outlier(error, flow), *within)]
    values = torch.cat(
        (error, *shares, angular_error(prediction, flow), weighted_area(error)), 1
    ).double()
    motion = flow.square().sum(1, keepdim=True).sqrt()
    groups = (
        torch.ones_like(valid),
        motion < 10,
        (motion >= 10) & (motion < 40),
        motion >= 40,
        *_belts(visible, distance, valid),
        *_halves(visible, valid),
        *_halves(foreground, valid),
    )
    masks = (torch.cat(groups, 1) & valid).double()
    # A prediction may be anything where nothing is known; 0 · NaN would be NaN.
    values = torch.where(valid, values, 0)
    total = torch.einsum("bmhw,bghw->bgm", values, masks)
    return total.cpu(), masks.sum((2, 3)).cpu()


def _halves(mask: Tensor | None, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Return `mask` and its opposite, both empty where there is none."""
    nowhere = torch.zeros_like(valid)
    return (nowhere, nowhere) if mask is None else (mask, ~mask)


def _belts(visible: Tensor | None, distance: Tensor | None, valid: Tensor) -> list[Tensor]:
    """Return the visible pixels by their distance from occluded ones."""
    if visible is None or distance is None:
        return [torch.zeros_like(valid)] * 3
    return [
        visible & (distance >= low) & (distance < high)
        for low, high in ((0, 10), (10, 60), (60, 140))
    ]


@dataclass
class Tally:
    """Sums over a data set, to which images are added one by one."""

    totals: list[Tensor] = field(default_factory=list)
    counts: list[Tensor] = field(default_factory=list)

    def add(
        self,
        prediction: Tensor,
        flow: Tensor,
        valid: Tensor | None,
        visible: Tensor | None,
        foreground: Tensor | None = None,
        distance: Tensor | None = None,
    ) -> None:
        """Add predictions `(B, 2, H, W)` and their labels; see `selfflow.pairs.Pairs`, `sums`."""
        if valid is None:
            valid = torch.ones_like(flow[:, :1], dtype=torch.bool)
        totals, counts = sums(prediction, flow, valid, visible, foreground, distance)
        self.totals += totals.unbind()
        self.counts += counts.unbind()

    def pooled(self) -> dict[str, dict[str, float]]:
        """Return the mean over all pixels, by group and measure; empty groups are left out."""
        totals, counts = torch.stack(self.totals).sum(0), torch.stack(self.counts).sum(0)
        return _named(totals, counts[:, None].expand_as(totals), counts)

    def per_image(self) -> dict[str, dict[str, float]]:
        """Return the mean over images of their means, by group and measure.

        Images without a pixel in a group are left out of it; `images` counts the others.
        """
        totals, counts = torch.stack(self.totals), torch.stack(self.counts)
        means = (totals / counts.clamp(min=1)[..., None]).sum(0)
        images = (counts > 0).sum(0)
        named = _named(means, images[:, None].expand_as(means), counts.sum(0))
        for group, count in zip(GROUPS, images.tolist(), strict=True):
            if count > 0:
                named[group]["images"] = count
        return named

    def each(self) -> list[dict[str, float]]:
        """Return every image's own means over all its pixels, by measure."""
        return [
            _named(total, count[:, None].expand_as(total), count).get(GROUPS[0], {})
            for total, count in zip(self.totals, self.counts, strict=True)
        ]


def _named(totals: Tensor, divisors: Tensor, pixels: Tensor) -> dict[str, dict[str, float]]:
    return {
        group: dict(zip(MEASURES, (total / divisor).tolist(), strict=True)) | {"pixels": int(count)}
        for group, total, divisor, count in zip(GROUPS, totals, divisors, pixels, strict=True)
        if count > 0
    }
