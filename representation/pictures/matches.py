"""Two views with the points that belong together."""

import math

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from representation.correspondence import View

SHOWN = 24  # matches
SIDE = 192  # pixels, at least, of a view's short side in the picture


def matches_picture(
    view1: View, view2: View, positions: Tensor, targets: Tensor, valid: Tensor | None = None
) -> Tensor:
    """Return a picture `(3, H, 2 W)` of the first views, dots of one colour where they match.

    Thin lines join the dots. Small views are enlarged. Of many matches a few are shown, evenly
    spread over those that are valid.

    Args:
        view1: on the left.
        view2: on the right, of the same size.
        positions: pixels of view 1, `(B or 1, 2, h, w)`.
        targets: their matches, pixels of view 2, `(B, 2, h, w)`.
        valid: which matches hold, `(B, 1, h, w)` bool; None: all.
    """
    first, second = positions[0].flatten(1), targets[0].flatten(1)
    if valid is not None:
        known = valid[0].flatten()
        first, second = first[:, known], second[:, known]
    # Rows of cells follow one another: odd steps go through all columns.
    count = first.shape[1]
    shown = torch.linspace(0, count - 1, min(SHOWN, count)).round().long().to(first.device)
    left, right = view1.images[0], view2.images[0]
    scale = math.ceil(SIDE / min(left.shape[1:]))
    pair = torch.cat((left, right), 2)[None].float().cpu()
    pair = F.interpolate(pair, scale_factor=scale, mode="bicubic", align_corners=False)[0]
    canvas = (pair.clamp(0, 1) * 255).byte().permute(1, 2, 0).contiguous().numpy()
    shift = second.new_tensor((left.shape[2], 0))[:, None]
    ends = [
        ((each + 0.5) * scale - 0.5).T[shown].round().int().tolist()
        for each in (first, second + shift)
    ]
    _draw(canvas, *ends)
    return torch.from_numpy(canvas).permute(2, 0, 1).float() / 255


def _draw(canvas: np.ndarray, starts: list[list[int]], ends: list[list[int]]) -> None:
    """Draw lines and dots into an image `(H, W, 3)`."""
    lines = canvas.copy()
    joined = list(zip(starts, ends, hues(len(starts)), strict=True))
    for start, end, colour in joined:
        cv2.line(lines, start, end, colour, 1, cv2.LINE_AA)
    cv2.addWeighted(lines, 0.5, canvas, 0.5, 0, canvas)
    for start, end, colour in joined:
        for place in (start, end):
            dot(canvas, place, colour)


def dot(canvas: np.ndarray, place: list[int], colour: tuple[int, ...], radius: int = 3) -> None:
    """Draw a dot with a dark rim at (x, y) into an image `(H, W, 3)`."""
    cv2.circle(canvas, place, radius + 1, (0, 0, 0), cv2.FILLED, cv2.LINE_AA)
    cv2.circle(canvas, place, radius, colour, cv2.FILLED, cv2.LINE_AA)


def hues(count: int) -> list[tuple[int, ...]]:
    """Return bright colours, as different as so many can be."""
    if count == 0:
        return []
    wheel = np.zeros((1, count, 3), np.uint8)
    wheel[0, :, 0] = np.arange(count) * 180 // count  # OpenCV's hue ends at 180
    wheel[0, :, 1:] = 230, 255
    return [tuple(each) for each in cv2.cvtColor(wheel, cv2.COLOR_HSV2RGB)[0].tolist()]
