"""J and F of masks over a sequence, as the official evaluation of DAVIS-2017 computes them.

Region similarity J and contour accuracy F: Perazzi et al., "A benchmark dataset and evaluation
methodology for video object segmentation" (CVPR 2016), section 5.1, with the choices of the
published evaluation (davis2017-evaluation): F dilates boundaries by a disk in place of matching
them one to one, and where both masks are empty, J and F are 1.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from selfflow.io import Bool

TOLERANCE = 0.008  # of the frame's diagonal, within which boundaries count as equal
BINS = 4  # parts of a sequence; decay is what is lost from the first to the last one


@dataclass(frozen=True)
class Statistics:
    """A measure over the frames of a sequence.

    Attributes:
        mean: over the frames.
        recall: share of the frames with more than 0.5.
        decay: mean of the first quarter of the frames less that of the last.
    """

    mean: float
    recall: float
    decay: float


def region_similarity(found: Bool, truth: Bool) -> float:
    """Return J, the intersection of two masks `(H, W)` over their union; 1 if both are empty."""
    union = np.count_nonzero(found | truth)
    return np.count_nonzero(found & truth) / union if union else 1.0


def boundary(mask: Bool) -> Bool:
    """Return the boundary of a mask `(H, W)`: pixels unlike one of those right, below, or both.

    The frame's edge is no boundary. So lines are one pixel wide, half a pixel up and left of where
    the mask ends.
    """
    padded = np.pad(mask, ((0, 1), (0, 1)), mode="edge")
    right, below, across = padded[:-1, 1:], padded[1:, :-1], padded[1:, 1:]
    return np.asarray((mask != right) | (mask != below) | (mask != across))


def contour_accuracy(found: Bool, truth: Bool) -> float:
    """Return F, the harmonic mean of precision and recall of a mask's boundary `(H, W)`.

    A boundary pixel is right if the other boundary is no further than ceil(0.008 · diagonal) px.
    """
    lines, true_lines = boundary(found), boundary(truth)
    count, true_count = np.count_nonzero(lines), np.count_nonzero(true_lines)
    if not count or not true_count:
        return float(count == true_count)
    disk = _disk(math.ceil(TOLERANCE * math.hypot(*truth.shape)))
    precision = np.count_nonzero(lines & _dilated(true_lines, disk)) / count
    recall = np.count_nonzero(true_lines & _dilated(lines, disk)) / true_count
    both = precision + recall
    return 2 * precision * recall / both if both else 0.0


def statistics(values: Sequence[float]) -> Statistics:
    """Return mean, recall and decay of a measure over the frames of a sequence, at least one."""
    frames = np.asarray(values, np.float64)
    # Neighbouring parts share a frame; halves are rounded up, which 1e-10 sees to.
    ends = np.round(np.linspace(1, len(frames), BINS + 1) + 1e-10).astype(int) - 1
    first, last = frames[: ends[1] + 1], frames[ends[-2] :]
    return Statistics(
        float(frames.mean()), float((frames > 0.5).mean()), float(first.mean() - last.mean())
    )


def _disk(radius: int) -> np.ndarray:
    squares = np.arange(-radius, radius + 1) ** 2
    return (squares[:, None] + squares <= radius**2).astype(np.uint8)


def _dilated(lines: Bool, disk: np.ndarray) -> Bool:
    return cv2.dilate(lines.astype(np.uint8), disk).astype(bool)
