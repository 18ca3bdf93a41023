"""Depth as what is read out at each pixel."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from representation.readout.dense.labels import read_numbers
from representation.readout.dense.sources import Source, read_stored
from selfflow.runs.errors import UserError

LOWEST = 1e-3  # m, to which what is read out is raised, as is common for NYU-Depth v2
EIGEN_SIZE, EIGEN_CROP = (480, 640), (slice(45, 471), slice(41, 601))


class Depths:
    """Depth in metres, see `representation.readout.dense.target.Target`; 0 where it is not known.

    A tally has, of one image: 1 if any depth in it is known, its root mean square error, how many
    depths are known, and over these the sums of squared error, of absolute error, of absolute error
    relative to the depth, and of those less than a quarter wrong.

    Args:
        unit: m, what 1 stands for in an image file.
        highest: m, to which what is read out is lowered, and beyond which depth is not known.
        eigen: test on the middle of images of 640x480 that Eigen et al. (NIPS 2014) test on.
    """

    outputs = 1
    unknown = 0
    lower_is_better = True

    def __init__(self, unit: float, highest: float, *, eigen: bool = False) -> None:
        self.unit, self.highest, self.eigen = unit, highest, eigen

    def read(self, source: Source) -> Tensor:
        """Return a depth map `(H, W)` float32 in metres, 0 where it is not known."""
        if isinstance(source, Path):
            depth = read_numbers(source) * self.unit
        else:
            depth = read_stored(source).T
        known = np.isfinite(depth) & (depth > 0) & (depth <= self.highest)
        return torch.from_numpy(np.where(known, depth, 0).astype(np.float32))

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Return the mean absolute error in metres over what is known; 0 where nothing is."""
        known = labels > 0
        error = (outputs[:, 0] - labels).abs()
        return torch.where(known, error, 0).sum() / known.sum().clamp_min(1)

    def depth(self, outputs: Tensor) -> Tensor:
        """Return the depth `(H, W)` that outputs `(1, H, W)` stand for."""
        return outputs[0].clamp(LOWEST, self.highest)

    def tally(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Return the sums of one image."""
        found = self.depth(outputs).double()
        truth = labels.double()
        if self.eigen:
            if tuple(labels.shape) != EIGEN_SIZE:
                raise UserError(
                    f"Eigen's crop is of images of 640x480, here is one of "
                    f"{labels.shape[1]}x{labels.shape[0]}"
                )
            found, truth = found[EIGEN_CROP], truth[EIGEN_CROP]
        known = truth > 0
        found, truth = found[known], truth[known]
        if not len(truth):
            return torch.zeros(7, dtype=torch.float64)
        error = (found - truth).abs()
        ratio = torch.maximum(found / truth, truth / found)
        one = torch.ones((), dtype=torch.float64, device=error.device)
        sums = [error.square().sum(), error.sum(), (error / truth).sum(), (ratio < 1.25).sum()]
        return torch.stack([one, error.square().mean().sqrt(), one * len(truth), *sums])

    def score(self, totals: Tensor) -> Tensor:
        """Return the root mean square error, averaged over images, of totals `(..., 7)`."""
        return totals[..., 1] / totals[..., 0]

    def scores(self, total: Tensor) -> Mapping[str, float]:
        """Return the errors in metres, both averages of the root mean square, and the ratios."""
        images, each, pixels, squared, absolute, relative, near = total.tolist()
        if not pixels:
            raise UserError("no depth of the test images is known")
        return {
            "rmse_image": each / images,
            "rmse_pixel": (squared / pixels) ** 0.5,
            "absrel": relative / pixels,
            "delta1": near / pixels,
            "mean_absolute": absolute / pixels,
        }

    def details(self, total: Tensor) -> Mapping[str, Any]:
        """Return how much was tested on."""
        return {"images_with_depth": int(total[0]), "pixels_with_depth": int(total[2])}
