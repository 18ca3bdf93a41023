"""Feature maps of two views of an image, brought cell to cell.

MultiSiam's RoI alignment and offset alignment (Chen et al., ICCV 2021, section 3.2). Views are
crops, possibly mirrored; where their features lie is known from their maps to the frame and from
the encoder's `offset`, see `representation.encoder`.
"""

import torch
from torch import Tensor

from representation.correspondence import View
from representation.encoder import Encoder, read_features
from representation.overlap import common_part
from selfflow import affine
from selfflow.flow import pixel_grid


def upright(maps: Tensor, view: View) -> Tensor:
    """Return maps `(B, C, h, w)` of views, those of mirrored views flipped back."""
    mirrored = view.to_frame[:, 0, 0] < 0
    return torch.where(mirrored[:, None, None, None], maps.flip(3), maps)


def roi_align(
    features: Tensor, view: View, low: Tensor, high: Tensor, *, stride: int, offset: float = 0.0
) -> Tensor:
    """Return a part of the frame as features of a view show it, `(B, C, h, w)` like `features`.

    RoI Align (He et al., "Mask R-CNN", 2017): the part is divided into h x w equal bins, and the
    features are read at the middle of each, bilinearly. torchvision's takes more readings only
    where bins are larger than cells, which those of a part of the view never are.

    The result lies as in the frame, also of mirrored views. MultiSiam flips the map back and takes
    the part's relative coordinates; a ResNet's cells are not centred in their strides, so that what
    is shown would lie up to half a cell off, to one side or, mirrored, to the other. Here cells are
    read where they are.

    Args:
        features: of the view.
        view: that the encoder saw.
        low: first corner of the part, x then y, `(B, 2)`, in frame pixels; an edge, so that the
            whole view begins at `view.low`.
        high: last corner, likewise.
        stride: of the features.
        offset: of the features.
    """
    height, width = features.shape[-2:]
    middle = pixel_grid(height, width, device=low.device, dtype=low.dtype) + 0.5
    share = middle / middle.new_tensor((width, height)).view(1, 2, 1, 1)
    points = low[..., None, None] + share * (high - low)[..., None, None]
    positions = affine.apply(affine.invert(view.to_frame), points)
    return read_features(features, positions, stride, offset)


def align_common_part(
    view: View, other: View, features: Tensor, others: Tensor, encoder: Encoder
) -> tuple[Tensor, Tensor]:
    """Return what both views show, as the encoder's features `(B, C, h, w)` of each show it.

    MultiSiam's equations 3 and 4, see `roi_align`.
    """
    low, high = common_part(view, other)
    stride, offset = encoder.stride, encoder.offset
    return (
        roi_align(features, view, low, high, stride=stride, offset=offset),
        roi_align(others, other, low, high, stride=stride, offset=offset),
    )


def offset_map(view: View, other: View, encoder: Encoder, *, normalised: bool = True) -> Tensor:
    """Return how far each cell of `other` lies from the same cell of `view`, `(B, 2, h, w)`.

    ΔC of MultiSiam's equation 5, x then y, of maps that are `upright`: in the frame's pixels, or,
    `normalised`, in distances from the first to the last cell of `view`. One that has a single cell
    along an axis is a ValueError then.
    """
    here, there = cells_in_frame(view, encoder), cells_in_frame(other, encoder)
    if not normalised:
        return there - here
    if 1 in here.shape[-2:]:
        raise ValueError("a map of a single cell has no size to normalise offsets by")
    return (there - here) / (here[:, :, -1:, -1:] - here[:, :, :1, :1])


def cells_in_frame(view: View, encoder: Encoder) -> Tensor:
    """Return where the cells of a view's upright map lie in the frame, `(B, 2, h, w)` pixels."""
    return upright(affine.apply(view.to_frame, encoder.positions(*view.images.shape[-2:])), view)
