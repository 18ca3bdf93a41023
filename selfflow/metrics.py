"""Errors of flow against a label, as sums from which every average is made.

Two averages are in use and differ by tens of per cent: over all pixels of a data set (pooled;
torchvision's, and RAFT's Fl on KITTI), and over images of each image's mean (RAFT's end-point
error on KITTI, SMURF). `Tally` gives both.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

MEASURES = ("epe", "fl_all", "1px", "3px", "5px")
GROUPS = ("all", "s0-10", "s10-40", "s40+", "visible", "not visible")

DEFINITIONS = {
    "epe": "end-point error, the length of the difference vector, in pixels",
    "fl_all": "per cent of pixels with an error above 3 px and above 5 % of the true length",
    "1px, 3px, 5px": "per cent of pixels with an error below 1, 3 and 5 px",
    "s0-10, s10-40, s40+": "pixels whose true motion is below 10 px, from 10 to 40, from 40 on",
    "visible, not visible": "pixels of frame 1 that are seen in frame 2 (matched), and the others",
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


def sums(
    prediction: Tensor, flow: Tensor, valid: Tensor, visible: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return each image's sums over pixels, `(B, G, M)`, and numbers of pixels, `(B, G)`.

    G counts `GROUPS`, M `MEASURES`, both float64 on the CPU. Without `visible` the two groups that
    need it are empty. Shares are in per cent.
    """
    flow = torch.where(valid, flow, 0)
    error = endpoint_error(prediction, flow)
    within = [error < limit for limit in (1, 3, 5)]
    values = torch.cat((error, *(100.0 * x for x in (outlier(error, flow), *within))), 1)
    motion = flow.square().sum(1, keepdim=True).sqrt()
    nowhere = torch.zeros_like(valid)
    groups = (
        torch.ones_like(valid),
        motion < 10,
        (motion >= 10) & (motion < 40),
        motion >= 40,
        nowhere if visible is None else visible,
        nowhere if visible is None else ~visible,
    )
    masks = (torch.cat(groups, 1) & valid).double()
    # A prediction may be anything where nothing is known; 0 · NaN would be NaN.
    values = torch.where(valid, values, 0).double()
    total = torch.einsum("bmhw,bghw->bgm", values, masks)
    return total.cpu(), masks.sum((2, 3)).cpu()


@dataclass
class Tally:
    """Sums over a data set, to which images are added one by one."""

    totals: list[Tensor] = field(default_factory=list)
    counts: list[Tensor] = field(default_factory=list)

    def add(
        self, prediction: Tensor, flow: Tensor, valid: Tensor | None, visible: Tensor | None
    ) -> None:
        """Add predictions `(B, 2, H, W)` and their labels; see `selfflow.pairs.Pairs`."""
        if valid is None:
            valid = torch.ones_like(flow[:, :1], dtype=torch.bool)
        totals, counts = sums(prediction, flow, valid, visible)
        self.totals += totals.unbind()
        self.counts += counts.unbind()

    def pooled(self) -> dict[str, dict[str, float]]:
        """Return the mean over all pixels, by group and measure; empty groups are left out."""
        totals, counts = torch.stack(self.totals).sum(0), torch.stack(self.counts).sum(0)
        return _named(totals, counts[:, None].expand_as(totals), counts)

    def per_image(self) -> dict[str, dict[str, float]]:
        """Return the mean over images of their means, by group and measure.

        Images without a pixel in a group are left out of it.
        """
        totals, counts = torch.stack(self.totals), torch.stack(self.counts)
        means = (totals / counts.clamp(min=1)[..., None]).sum(0)
        images = (counts > 0).sum(0)
        return _named(means, images[:, None].expand_as(means), counts.sum(0))

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
