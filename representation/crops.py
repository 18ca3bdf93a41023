"""Random resized crops: part of a frame, of any size and shape, as a view of a fixed size.

The views of SimCLR, BYOL and MoCo, as torchvision's `RandomResizedCrop` with antialiasing makes
them, with the map from view to frame that `representation.correspondence` needs.
"""

import math

import torch
from pydantic import Field
from torch import Tensor

from representation.correspondence import View
from representation.distortion import Distortion, distort
from representation.views import ViewSize
from selfflow.flow import check_images
from selfflow.random import chance, purpose, uniform
from selfflow.runs.parameter import parameter_range

ATTEMPTS = 10


class ResizedCrop(ViewSize):
    """Where views are cut out. The defaults are SimCLR's and BYOL's; MoCo's scale is 0.2 to 1."""

    scale: tuple[float, float] = parameter_range(
        (0.08, 1.0), 1e-4, 1.0, unit="share", meaning="area of a crop in that of its frame"
    )
    ratio: tuple[float, float] = parameter_range(
        (3 / 4, 4 / 3), 0.05, 20.0, unit="ratio", meaning="width over height of a crop"
    )
    flip: float = Field(0.5, ge=0, le=1, description="probability that a view is mirrored")


def draw_resized_crops(keys: Tensor, sizes: Tensor, settings: ResizedCrop) -> Tensor:
    """Return the map from a random view's pixels to its frame's, `(B, 2, 3)`.

    Args:
        keys: one a view, `(B,)`; different ones for the two views of a frame.
        sizes: height and width of the frames, `(B, 2)`.
        settings: sizes and ranges.
    """
    mirrored = chance(purpose(keys, "crop flip"), settings.flip)
    boxes = draw_boxes(keys, sizes, settings)
    return box_to_frame(boxes, mirrored, settings.height, settings.width)


def draw_boxes(keys: Tensor, sizes: Tensor, settings: ResizedCrop) -> Tensor:
    """Return random boxes of whole pixels in frames: left, top, width, height, `(B, 4)` float.

    Area uniform, log of the ratio uniform, the place uniform among those where the box fits. A box
    that does not fit is drawn again, up to ten times in all; then it is the largest in the frame's
    middle whose ratio is allowed. All this as in torchvision.
    """
    height, width = sizes.to(keys.device).float()[:, None].unbind(2)
    low, high = settings.scale
    area = uniform(purpose(keys, "crop area"), ATTEMPTS, low=low, high=high) * height * width
    low, high = (math.log(end) for end in settings.ratio)
    ratio = uniform(purpose(keys, "crop ratio"), ATTEMPTS, low=low, high=high).exp()
    drawn = torch.stack(((area * ratio).sqrt().round(), (area / ratio).sqrt().round()), 2)
    frame = torch.stack((width, height), 2)
    fits = ((drawn > 0) & (drawn <= frame)).all(2)
    # The first that fits; where none does, the last candidate, which always does.
    candidates = torch.cat((drawn, _central(frame, settings.ratio)), 1)
    fits = torch.cat((fits, torch.ones_like(fits[:, :1])), 1)
    first = fits.long().argmax(1)
    size = candidates[torch.arange(len(keys), device=keys.device), first]
    room = frame[:, 0] - size
    anywhere = (uniform(purpose(keys, "crop place"), 2) * (room + 1)).floor().minimum(room)
    middle = (room / 2).floor()
    place = torch.where((first == ATTEMPTS)[:, None], middle, anywhere)
    return torch.cat((place, size), 1)


def _central(frame: Tensor, ratio: tuple[float, float]) -> Tensor:
    """Return the largest (width, height) of an allowed ratio in frames (width, height)."""
    width, height = frame.unbind(2)
    low, high = ratio
    widest = torch.minimum(width, (height * high).round())
    highest = torch.minimum(height, (width / low).round())
    return torch.stack((widest, highest), 2).clamp_min(1)


def box_to_frame(boxes: Tensor, mirrored: Tensor, height: int, width: int) -> Tensor:
    """Return the map from the pixels of a view of `height` x `width` to its frame's, `(B, 2, 3)`.

    The view's edges are the box's: half a pixel beyond the outermost pixel centres of both.

    Args:
        boxes: left, top, width, height in pixels, `(B, 4)`.
        mirrored: which views are seen in a mirror, `(B,)` bool.
        height: of the view.
        width: of the view.
    """
    place, size = boxes.split(2, 1)
    step = size / size.new_tensor((width, height))
    offset = place + step / 2 - 0.5
    far = offset[:, 0] + (width - 1) * step[:, 0]
    along_x = torch.where(mirrored, -step[:, 0], step[:, 0])
    offset_x = torch.where(mirrored, far, offset[:, 0])
    zero = torch.zeros_like(offset_x)
    rows = (
        torch.stack((along_x, zero, offset_x), 1),
        torch.stack((zero, step[:, 1], offset[:, 1]), 1),
    )
    return torch.stack(rows, 1)


def take_view(
    frames: Tensor,
    to_frame: Tensor,
    size: tuple[int, int],
    keys: Tensor | None = None,
    distortion: Distortion | None = None,
) -> View:
    """Return the view of `frames` `(B, 3, H, W)` in [0, 1] that maps without rotation show.

    Where it is smaller than what it shows, it is antialiased, each view to its own degree: a
    triangle as wide as the reduction, nothing from outside the crop. Equal to torchvision's
    `resized_crop(..., antialias=True)`, and a flip.

    Args:
        frames: whole frames; those of several sizes are padded.
        to_frame: from the view's pixels to the frame's, `(B, 2, 3)`, of a crop or any other map
            that scales and mirrors along the axes; anything else is a ValueError.
        size: (height, width) of the view.
        keys: of the distortion, `(B,)`.
        distortion: of colours and sharpness; None leaves them.
    """
    check_images(frames)
    to_frame = to_frame.to(frames.device)
    if to_frame[:, 0, 1].any() or to_frame[:, 1, 0].any():
        raise ValueError("a view that is turned or sheared cannot be taken along the axes")
    (low_x, high_x, across), (low_y, high_y, down) = (
        _readings(to_frame[:, axis, axis], to_frame[:, axis, 2], view, frame)
        for axis, view, frame in ((0, size[1], frames.shape[3]), (1, size[0], frames.shape[2]))
    )
    images = down[:, None] @ frames @ across[:, None].transpose(2, 3)
    images = images.clamp(0, 1)
    if distortion is not None:
        if keys is None:
            raise ValueError("a distortion needs keys")
        images = distort(images, keys, distortion)
    low, high = torch.stack((low_x, low_y), 1), torch.stack((high_x, high_y), 1)
    return View(images, to_frame, low, high)


def _readings(step: Tensor, offset: Tensor, view: int, frame: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return what views read along one axis.

    Args:
        step: from one view pixel to the next, in frame pixels, `(B,)`; negative in a mirror.
        offset: where the first view pixel lies, likewise.
        view: pixels of the view.
        frame: pixels of the frame.

    Returns:
        low: edge of what is shown, `(B,)`, and
        high: the other edge; both half a view pixel beyond the outermost centres.
        weights: of the frame's pixels in each of the view's, `(B, view, frame)`.
    """
    ends = offset - step / 2, offset + (view - 0.5) * step
    low, high = torch.minimum(*ends), torch.maximum(*ends)
    pixels = torch.arange(frame, device=step.device)
    centres = offset[:, None] + step[:, None] * torch.arange(view, device=step.device)
    distance = (pixels - centres[..., None]).abs()
    weights = (1 - distance / step.abs().clamp_min(1)[:, None, None]).clamp_min(0)
    # A box's edges lie between pixels; a hundredth of one is more than their rounding.
    shown = (pixels > low[:, None] + 0.01) & (pixels < high[:, None] - 0.01)
    weights = weights * shown[:, None]
    return low, high, weights / weights.sum(2, keepdim=True).clamp_min(1e-6)
