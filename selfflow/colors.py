"""Flow as colour: direction is hue, length is saturation.

The wheel of Baker et al., "A database and evaluation methodology for optical flow" (IJCV 2011),
in which neighbouring hues are spaced by how well people tell them apart.
"""

import math

import torch
from torch import Tensor

from selfflow.flow import check_flow

# From red to yellow in 15 steps, to green in 6, to cyan in 4, to blue in 11, to magenta in 13, and
# back to red in 6.
_STEPS = (15, 6, 4, 11, 13, 6)
_CORNERS = ((1, 0, 0), (1, 1, 0), (0, 1, 0), (0, 1, 1), (0, 0, 1), (1, 0, 1), (1, 0, 0))


def color_wheel(device: torch.device | str | None = None) -> Tensor:
    """Return the wheel's colours, `(55, 3)` in [0, 1]."""
    corners = torch.tensor(_CORNERS, dtype=torch.float32, device=device)
    sections = []
    for start, end, steps in zip(corners, corners[1:], _STEPS, strict=False):
        position = torch.arange(steps, device=device)[:, None] / steps
        sections.append(start + (end - start) * position)
    return torch.cat(sections)


def flow_to_color(flow: Tensor, max_magnitude: float | None = None) -> Tensor:
    """Return flow `(B, 2, H, W)` as pictures `(B, 3, H, W)` in [0, 1] on the same device.

    Zero is white and `max_magnitude` pixels fully saturated; longer vectors are darkened. None
    takes each image's own largest magnitude. Unknown flow (NaN, infinite, beyond 1e9) is black.
    Unlike the original, colours are not rounded down to 1/255.
    """
    check_flow(flow)
    known = (flow.isfinite() & (flow.abs() < 1e9)).all(1, keepdim=True)
    flow = torch.where(known, flow, 0).float()
    magnitude = flow.square().sum(1).sqrt()
    if max_magnitude is None:
        largest = magnitude.flatten(1).amax(1).clamp(min=1e-6).view(-1, 1, 1)
    else:
        largest = magnitude.new_tensor(max_magnitude)
    radius = (magnitude / largest)[..., None]

    wheel = color_wheel(flow.device)
    angle = torch.atan2(-flow[:, 1], -flow[:, 0]) / math.pi  # in [-1, 1]
    place = (angle + 1) / 2 * (len(wheel) - 1)
    lower = place.floor().long()
    fraction = (place - lower)[..., None]
    hue = (1 - fraction) * wheel[lower] + fraction * wheel[(lower + 1) % len(wheel)]
    color = torch.where(radius <= 1, 1 - radius * (1 - hue), 0.75 * hue)
    return color.permute(0, 3, 1, 2) * known
