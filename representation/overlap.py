"""Two random resized crops of an image that overlap by more than a given share.

MultiSiam (Chen et al., ICCV 2021, section 3.2): in images of many things two crops are likely to
show the same things only where they are near to each other.
"""

import torch
from pydantic import Field
from torch import Tensor

from representation.correspondence import View, correspondence
from representation.crops import ResizedCrop, box_to_frame, draw_boxes, take_view
from representation.distortion import BYOL_1, BYOL_2, Distortion
from representation.method import Frames
from representation.pictures.matches import matches_picture
from selfflow.flow import grid_like, sample
from selfflow.random import chance, purpose

ATTEMPTS = 1024
ROUND = 16  # pairs of crops that are drawn together; no result depends on it


class OverlapViews(ResizedCrop):
    """What the two views of an image show. The defaults are MultiSiam's: BYOL's, and the IoU."""

    first: Distortion = BYOL_1
    second: Distortion = BYOL_2
    iou: float = Field(
        0.5, ge=0, le=0.95, description="crops share more than this of what they show together"
    )


def take_overlapping_views(frames: Frames, settings: OverlapViews) -> tuple[View, View]:
    """Return two random views of each pair's first frame that overlap."""
    boxes = draw_overlapping_boxes(frames.keys, frames.sizes, settings)
    size = (settings.height, settings.width)

    def view(number: int, boxes: Tensor, distortion: Distortion) -> View:
        keys = purpose(frames.keys, "view", number)
        mirrored = chance(purpose(keys, "crop flip"), settings.flip)
        to_frame = box_to_frame(boxes, mirrored, *size)
        return take_view(frames.image1, to_frame, size, keys, distortion)

    return view(1, boxes[0], settings.first), view(2, boxes[1], settings.second)


def draw_overlapping_boxes(
    keys: Tensor, sizes: Tensor, settings: OverlapViews
) -> tuple[Tensor, Tensor]:
    """Return two random boxes in each frame whose IoU is above the threshold, `(B, 4)` each.

    Pairs are drawn, as `draw_boxes` does, until one is near enough: attempt n of a sample depends
    on its key and n alone, so that the result is a function of the key. If none of 1024 is, both
    boxes are the first attempt's first. At the default IoU of 0.5 three to five attempts are
    enough on average, in frames of 4:3 and 2:1; at 0.9 about one in 16 or one in 4 samples, of
    these, ends with equal boxes.

    Args:
        keys: one a frame, `(B,)`.
        sizes: height and width of the frames, `(B, 2)`.
        settings: of the crops, and the threshold.

    Returns:
        first: left, top, width, height, in pixels.
        second: likewise.
    """
    found = draw_boxes(_attempt(keys, 0, 1), sizes, settings)
    first, second = found.clone(), found.clone()
    waiting = torch.arange(len(keys), device=keys.device)
    for start in range(0, ATTEMPTS, ROUND):
        numbers = torch.arange(start, start + ROUND, device=keys.device)
        drawn = [
            _draw_attempts(keys[waiting], sizes[waiting], settings, numbers, n) for n in (1, 2)
        ]
        near = intersection_over_union(*drawn) > settings.iou
        place = torch.arange(len(waiting), device=keys.device)
        chosen = near.long().argmax(1)  # the first that is near enough
        done = near[place, chosen]
        first[waiting[done]] = drawn[0][place, chosen][done]
        second[waiting[done]] = drawn[1][place, chosen][done]
        waiting = waiting[~done]
        if not len(waiting):
            break
    return first, second


def _attempt(keys: Tensor, numbers: Tensor | int, view: int) -> Tensor:
    """Return the keys of the boxes of a view in attempts."""
    return purpose(purpose(keys, "overlap", numbers), "box", view)


def _draw_attempts(
    keys: Tensor, sizes: Tensor, settings: ResizedCrop, numbers: Tensor, view: int
) -> Tensor:
    """Return the boxes of several attempts, `(B, attempts, 4)`."""
    each = _attempt(keys[:, None], numbers, view)
    boxes = draw_boxes(each.flatten(), sizes.repeat_interleave(len(numbers), 0), settings)
    return boxes.view(*each.shape, 4)


def intersection_over_union(first: Tensor, second: Tensor) -> Tensor:
    """Return the IoU of boxes (left, top, width, height) `(..., 4)`, `(...)`; from 0 to 1."""
    low = torch.maximum(first[..., :2], second[..., :2])
    high = torch.minimum(first[..., :2] + first[..., 2:], second[..., :2] + second[..., 2:])
    common = (high - low).clamp_min(0).prod(-1)
    return common / (first[..., 2:].prod(-1) + second[..., 2:].prod(-1) - common)


def common_part(first: View, second: View) -> tuple[Tensor, Tensor]:
    """Return the part of the frames that both views show: first and last corner, `(B, 2)`."""
    return torch.maximum(first.low, second.low), torch.minimum(first.high, second.high)


def shown_by_other(view: View, other: View) -> Tensor:
    """Return the share of a view's part of the frame that another view shows, `(B,)`."""
    low, high = common_part(view, other)
    return (high - low).clamp_min(0).prod(1) / (view.high - view.low).prod(1)


def matched_picture(views: tuple[View, View]) -> dict[str, Tensor]:
    """Return pictures of the first image: its matches, and its views `(3, H, 3 W)`.

    Beside the views is view 2 as it is seen from view 1, black where it does not show that part.
    """
    view1, view2 = views
    positions = grid_like(view1.images)
    targets, valid = correspondence(view1, view2, positions)
    matched = (sample(view2.images[:1], targets[:1]) * valid[:1])[0]
    return {
        "views": torch.cat((view1.images[0], view2.images[0], matched), 2),
        "matches": matches_picture(view1, view2, positions, targets, valid),
    }
