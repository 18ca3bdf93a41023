"""Which point of one view is which point of the other.

Views are made from frames by affine maps: crops, zooms, flips, rotations. Between the frames lies
the flow. A point u of view 1 is the point x = A₁⁻¹(u) of frame 1, moves to x + flow(x) in frame 2,
and is seen at T(u) = A₂(x + flow(x)) in view 2: FlowE's T = A₁⁻¹ ∘ M ∘ A₂ (equation 4, read from
left to right). Reading view 2's features at T(u) aligns them with view 1.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from selfflow import affine
from selfflow.flow import check_images, sample

TOLERANCE = 1e-3  # pixels


@dataclass(frozen=True)
class View:
    """Images that show an affine map of a part of their frames.

    Attributes:
        images: `(B, 3, h, w)` in [0, 1].
        to_frame: from the view's pixels to the frame's, `(B, 2, 3)`, see `selfflow.affine`; A⁻¹.
        low: the first corner of the part of the frame that may be shown, `(B, 2)`, x then y, in
            frame pixels; it belongs to the part.
        high: its last corner, likewise.
    """

    images: Tensor
    to_frame: Tensor
    low: Tensor
    high: Tensor

    def __post_init__(self) -> None:
        check_images(self.images)
        if self.to_frame.shape != (len(self.images), 2, 3):
            raise ValueError(f"to_frame must be (B, 2, 3), got {tuple(self.to_frame.shape)}")

    def shows(self, positions: Tensor) -> Tensor:
        """Return which frame positions `(B, 2, H, W)` lie in its part, `(B, 1, H, W)` bool."""
        return between(positions, self.low[..., None, None], self.high[..., None, None])


def correspondence(
    view1: View,
    view2: View,
    positions: Tensor,
    flow: Tensor | None = None,
    visible: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return T(u), where each position u of view 1 is found in view 2, and where that holds.

    Args:
        view1: the view that `positions` refer to.
        view2: the view that is looked up.
        positions: u, `(B or 1, 2, h', w')`, pixels of view 1.
        flow: from view 1's frame to view 2's, `(B, 2, H, W)`, whole frames; None if both views
            show the same frame.
        visible: which pixels of view 1's frame are seen in view 2's, `(B, 1, H, W)`; None: all.

    Returns:
        targets: T(u), `(B, 2, h', w')`, pixels of view 2; meaningless where not valid.
        valid: `(B, 1, h', w')` bool: x lies in view 1's part of the frame, x + flow(x) in
            view 2's, T(u) inside view 2, and the pixel nearest to x is visible.
    """
    source = affine.apply(view1.to_frame, positions)
    target = source if flow is None else source + sample(flow, source)
    valid = view1.shows(source) & view2.shows(target)
    if flow is not None:
        valid = valid & within(source, *flow.shape[-2:])
    if visible is not None:
        valid = valid & (sample(visible.to(source.dtype), source, mode="nearest") > 0.5)
    found = affine.apply(affine.invert(view2.to_frame), target)
    return found, valid & within(found, *view2.images.shape[-2:])


def within(positions: Tensor, height: int, width: int) -> Tensor:
    """Return which positions `(B, 2, H, W)` lie in an image, `(B, 1, H, W)` bool; see `between`."""
    corner = positions.new_tensor((width - 1, height - 1)).view(1, 2, 1, 1)
    return between(positions, torch.zeros_like(corner), corner)


def between(positions: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Return which positions `(B, 2, H, W)` lie in a rectangle, `(B, 1, H, W)` bool.

    Corners `low` and `high` broadcast against `positions`. A position on the border must not fall
    outside because of rounding, so it may lie TOLERANCE further out; NaN lies nowhere.
    """
    return ((positions >= low - TOLERANCE) & (positions <= high + TOLERANCE)).all(1, keepdim=True)
